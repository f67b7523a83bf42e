"""Labelled images as tensors: a small real set that travels with the project, MNIST, and sets on the hub.

images = load_images("digits")              # or "mnist", a folder of parquet files, or "uoft-cs/cifar10"
parts = split(images, seed=0)               # parts.train, parts.validation, parts.test: indices of images
"""

from evolm.images.image_set import ImageSet
from evolm.images.load import digests, load_images
from evolm.images.partition import Split, split

__all__ = ["ImageSet", "Split", "digests", "load_images", "split"]
