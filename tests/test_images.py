"""Images: the set that travels with the project, the IDX and parquet readers, and splits."""

from __future__ import annotations

import gzip
import hashlib
import io
import itertools
import json
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from evolm import paths
from evolm.images import ImageSet, digests, load_images, make_digits, split
from evolm.images.idx import read_idx
from evolm.images.load import digits_file
from evolm.images.stored import read_stored, write_stored

#: The classes of the UCI repository's testing set, from its description of data set 80.
UCI_TESTING = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
CIFAR_FEATURES = {"img": {"_type": "Image"}, "label": {"names": ["airplane", "bird"], "_type": "ClassLabel"}}


# The digits that travel with the project


def test_digits_are_the_testing_set_of_the_repository_with_its_classes() -> None:
    digits = load_images("digits")
    assert digits.images.shape == (1797, 1, 8, 8)
    assert digits.labels.bincount().tolist() == UCI_TESTING
    assert digits.classes == tuple("0123456789")
    assert (digits.images.min(), digits.images.max()) == (0, 1)
    assert torch.equal((digits.images * 16).round(), digits.images * 16)
    assert (digits.licence, digits.test_count) == ("CC BY 4.0", 0)


def test_first_digit_is_the_zero_that_the_documentation_of_scikit_learn_prints() -> None:
    digits = load_images("digits")
    assert (digits.images[0, 0, :2] * 16).tolist() == [[0, 0, 5, 13, 9, 1, 0, 0], [0, 0, 13, 15, 10, 15, 5, 0]]
    assert digits.labels[:10].tolist() == list(range(10))


def test_each_digit_is_nearest_to_the_mean_of_its_own_class() -> None:
    """Labels belong to their images: a nearest mean is right for 90 % of 8 x 8 digits, and for 10 % by chance."""
    digits = load_images("digits")
    flat = digits.images.flatten(1)
    means = torch.stack([flat[digits.labels == k].mean(0) for k in range(10)])
    assert (torch.cdist(flat, means).argmin(1) == digits.labels).float().mean() > 0.85


def test_digits_have_the_hash_that_their_readme_names() -> None:
    readme = (digits_file().parent / "README.md").read_text()
    digest = hashlib.sha256(digits_file().read_bytes()).hexdigest()
    assert digest in readme
    assert digest in (paths.resource("data") / "README.md").read_text()
    assert digests(("digits",)) == {"digits": digest}


def test_no_image_of_the_digits_is_there_twice() -> None:
    assert len(load_images("digits").images.flatten(1).unique(dim=0)) == 1797


def test_digits_are_remade_from_their_table_byte_by_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digits = load_images("digits")
    pixels = (digits.images * 16).flatten(1).int().tolist()
    rows = (",".join(map(str, [*row, label])) for row, label in zip(pixels, digits.labels.tolist(), strict=True))
    table = tmp_path / "digits.csv.gz"
    table.write_bytes(gzip.compress("\n".join(rows).encode()))
    with pytest.raises(ValueError, match=r"digits.csv.gz has sha256 .*expected .*scikit-learn"):
        make_digits.make_digits(table, tmp_path / "digits.safetensors")
    monkeypatch.setattr(make_digits, "TABLE_SHA256", hashlib.sha256(table.read_bytes()).hexdigest())
    make_digits.make_digits(table, tmp_path / "digits.safetensors")
    assert (tmp_path / "digits.safetensors").read_bytes() == digits_file().read_bytes()


# Stored sets


def store(file: Path, pixels: np.ndarray, **changes: object) -> Path:
    labels = np.zeros(len(pixels), np.uint8)
    facts = {"name": "toy", "licence": "CC0", "classes": ("a",), "brightest": 200} | changes
    write_stored(file, pixels, labels, **facts)
    return file


def test_the_brightest_byte_becomes_one(tmp_path: Path) -> None:
    pixels = np.array([[[0, 50], [100, 200]]], np.uint8)
    assert read_stored(store(tmp_path / "toy", pixels)).images.tolist() == [[[[0, 0.25], [0.5, 1]]]]


def test_a_view_of_a_larger_array_is_stored_as_it_reads(tmp_path: Path) -> None:
    rows = np.arange(60, dtype=np.uint8).reshape(6, 10)
    pixels = rows[::2, 1:].reshape(3, 3, 3)
    images = read_stored(store(tmp_path / "toy", pixels)).images
    assert (images * 200).round().int().tolist() == pixels[:, None].tolist()


def test_damaged_or_foreign_files_are_refused_by_name(tmp_path: Path) -> None:
    whole = store(tmp_path / "toy", np.zeros((2, 2, 2), np.uint8))
    for content in (whole.read_bytes()[:-1], b"", b"PK" * 50):
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(ValueError, match=r"bad is not a stored set of images \(.*restore it"):
            read_stored(tmp_path / "bad")
    from safetensors.torch import save_file

    save_file({"images": torch.zeros(1)}, tmp_path / "model")
    with pytest.raises(ValueError, match="model is not a stored set of images"):
        read_stored(tmp_path / "model")
    with pytest.raises(ValueError, match="pixels reach beyond 0 to 1"):
        read_stored(store(tmp_path / "bright", np.full((1, 2, 2), 201, np.uint8)))
    with pytest.raises(ValueError, match=r"holds images \(1, 2\) of torch.uint8; expected \(n, height, width\)"):
        read_stored(store(tmp_path / "flat", np.zeros((1, 2), np.uint8)))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"images": torch.zeros(3, 4, 4)}, r"images are \(3, 4, 4\).*expected \(n, channels, height, width\)"),
        ({"images": torch.zeros(3, 1, 4, 4, dtype=torch.uint8)}, "torch.uint8; expected"),
        ({"images": torch.full((3, 1, 4, 4), 255.0)}, "divide them by the value of the brightest"),
        ({"images": torch.full((3, 1, 4, 4), torch.nan)}, "beyond 0 to 1"),
        ({"images": torch.zeros(0, 1, 4, 4), "labels": torch.zeros(0, dtype=torch.int64)}, "there are no images"),
        ({"labels": torch.zeros(2, dtype=torch.int64)}, "one int64 for each of 3 images"),
        ({"labels": torch.zeros(3)}, "one int64 for each of 3 images"),
        ({"labels": torch.tensor([0, 1, 2])}, "labels from 0 to 2; expected 0 to 1"),
        ({"labels": torch.tensor([0, -1, 1])}, "labels from -1 to 1"),
        ({"test_count": 3}, "leaves none to train on"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(changes: dict, sentence: str) -> None:
    parts = {"images": torch.zeros(3, 1, 4, 4), "labels": torch.tensor([0, 1, 1])} | changes
    with pytest.raises(ValueError, match=sentence):
        ImageSet("toy", "CC0", ("a", "b"), **parts)


# IDX


def idx(values: np.ndarray) -> bytes:
    return struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()


@given(values=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=6)))
def test_idx_gives_back_every_array_of_bytes(values: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "some-idx"
    file.write_bytes(idx(values))
    found = read_idx(file, dimensions=values.ndim)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, values)


def test_every_shortened_idx_file_is_refused(tmp_path: Path) -> None:
    whole = idx(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
    for length in range(len(whole)):
        (tmp_path / "short").write_bytes(whole[:length])
        with pytest.raises(ValueError, match="short "):
            read_idx(tmp_path / "short", dimensions=3)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (idx(np.zeros((2, 3, 4), np.uint8)) + b"x", "names 2 x 3 x 4 bytes and holds 25: more follows"),
        (idx(np.zeros((2, 3, 4), np.uint8))[:-1], "holds 23: it was cut short"),
        (idx(np.zeros(30, np.uint8)), "has 1 dimensions; expected 3"),
        (struct.pack(">HBB3I", 0, 0x0D, 3, 1, 1, 1) + b"1234", "starts with 00000d03; .* starts with 000008"),
        (struct.pack(">HBB3I", 1, 8, 3, 1, 1, 1) + b"1", "starts with 00010803"),
        (gzip.compress(idx(np.zeros((2, 3, 4), np.uint8)), mtime=0), "is compressed; unpack it with gunzip"),
        (struct.pack(">HBB3I", 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1), "holds 0: it was cut short"),
    ],
)
def test_other_idx_files_are_refused_with_what_was_found(content: bytes, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match=sentence):
        read_idx(tmp_path / "file", dimensions=3)


# Splits


def image_set(labels: list[int], classes: int, test_count: int = 0) -> ImageSet:
    names = tuple(f"class {k}" for k in range(classes))
    return ImageSet("toy", "CC0", names, torch.zeros(len(labels), 1, 1, 1), torch.tensor(labels), test_count)


SHARES = st.floats(0, 0.35)


@given(
    labels=st.lists(st.integers(0, 3), min_size=1, max_size=80),
    seed=st.integers(0, 2**32),
    validation=SHARES,
    test=SHARES,
    train_share=st.floats(0.01, 1),
)
def test_split_divides_every_class_by_the_shares_and_loses_none(
    labels: list[int], seed: int, validation: float, test: float, train_share: float
) -> None:
    labels = [k for k in labels for _ in range(5)]  # five of each, so that every class keeps one to train on
    images = image_set(labels, 4)
    whole = split(images, seed, validation=validation, test=test)
    together = torch.cat([whole.train, whole.validation, whole.test])
    assert sorted(together.tolist()) == list(range(len(labels)))
    for part in (whole.train, whole.validation, whole.test):
        assert part.dtype == torch.int64
        assert part.tolist() == sorted(part.tolist())
    for k in set(labels):
        size = labels.count(k)
        assert abs(int((images.labels[whole.test] == k).sum()) - test * size) <= 0.5
        assert abs(int((images.labels[whole.validation] == k).sum()) - validation * size) <= 0.5
    less = split(images, seed, validation=validation, test=test, train_share=train_share)
    assert set(less.train.tolist()) <= set(whole.train.tolist())
    assert torch.equal(less.test, whole.test)
    assert torch.equal(less.validation, whole.validation)
    for k in set(labels):
        kept, of = (int((images.labels[part.train] == k).sum()) for part in (less, whole))
        assert kept >= 1
        assert abs(kept - train_share * of) <= max(0.5, 1 - train_share * of)


@given(seed=st.integers(0, 1000), shares=st.lists(st.floats(0.01, 1), min_size=2, max_size=4))
def test_smaller_training_shares_are_inside_larger_ones(seed: int, shares: list[float]) -> None:
    images = image_set([0, 1, 1] * 20, 2)
    parts = [set(split(images, seed, train_share=share).train.tolist()) for share in sorted(shares)]
    assert all(small <= large for small, large in itertools.pairwise(parts))


def test_a_seed_gives_one_split_and_another_seed_another() -> None:
    digits = load_images("digits")
    one, again, other = split(digits, 3), split(digits, 3), split(digits, 4)
    for part in ("train", "validation", "test"):
        assert torch.equal(getattr(one, part), getattr(again, part))
        assert not torch.equal(getattr(one, part), getattr(other, part))


def test_every_image_is_as_likely_as_another_to_be_held_out() -> None:
    images = image_set([0] * 20 + [1] * 20, 2)
    draws = 400
    counts = torch.zeros(40)
    for seed in range(draws):
        counts[split(images, seed, validation=0.0, test=0.25).test] += 1
    expected = draws * 0.25
    # Chi-square of 38 degrees of freedom, scaled for draws without replacement; its .9999 quantile is 80.
    assert float(((counts - expected) ** 2).sum()) / (expected * 0.75) * 19 / 20 < 80


def test_a_test_part_of_its_own_is_kept_whole_and_the_rest_divided() -> None:
    images = image_set([0, 1] * 20 + [1] * 7, 2, test_count=7)
    parts = split(images, seed=0, validation=0.25, test=0.5)
    assert parts.test.tolist() == list(range(40, 47))
    assert images.labels[parts.validation].bincount().tolist() == [5, 5]
    assert len(parts.train) == 30


@pytest.mark.parametrize(
    ("shares", "sentence"),
    [
        ({"validation": 1.0}, "validation = 1.0 is not a share"),
        ({"test": -0.1}, "test = -0.1 is not a share"),
        ({"test": float("nan")}, "test = nan is not a share"),
        ({"train_share": 0.0}, "train_share = 0.0 is not a share"),
        ({"train_share": 10}, "train_share = 10 is not a share"),
        ({"validation": 0.5, "test": 0.5}, "class 'class 0' has 4 images, and 4 are held out: none is left"),
    ],
)
def test_shares_that_leave_nothing_to_train_on_are_refused(shares: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        split(image_set([0, 1] * 4, 2), seed=0, **shares)


# Parquet, as on the hub


def encoded(values: np.ndarray, form: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(values).save(out, form)
    return out.getvalue()


def write_parquet(file: Path, pictures: list[bytes | None], features: dict | None, **labels: list) -> None:
    image = pa.array(
        [{"bytes": p, "path": None} for p in pictures], pa.struct({"bytes": pa.binary(), "path": pa.string()})
    )
    table = pa.table({"img": image, **{name: pa.array(values, pa.int64()) for name, values in labels.items()}})
    if features is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file)


def colours(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 5, 6, 3), np.uint8)  # (n, height, width, channels)


def write_cifar(folder: Path) -> None:
    """Three files of the layout of `uoft-cs/cifar10`: two of training, one of test, and the card."""
    for name, count in (("train-00000-of-00002", 3), ("train-00001-of-00002", 2), ("test-00000-of-00001", 4)):
        pictures = [encoded(picture) for picture in colours(count)]
        labels = [i % 2 for i in range(count)]
        write_parquet(folder / "plain_text" / f"{name}.parquet", pictures, CIFAR_FEATURES, label=labels)
    (folder / "README.md").write_text("---\nlicense:\n- unknown\n---\n# Card\n")


def check_cifar(images: ImageSet) -> None:
    expected = np.concatenate([colours(3), colours(2), colours(4)]).transpose(0, 3, 1, 2)
    assert images.images.shape == (9, 3, 5, 6)
    assert np.array_equal((images.images * 255).round().byte().numpy(), expected)
    assert images.labels.tolist() == [0, 1, 0, 0, 1, 0, 1, 0, 1]
    assert (images.classes, images.licence, images.test_count) == (("airplane", "bird"), "unknown", 4)


def test_a_folder_of_the_hubs_layout_is_read_with_its_test_part_last(tmp_path: Path) -> None:
    write_cifar(tmp_path)
    check_cifar(load_images(str(tmp_path)))
    files = sorted((tmp_path / "plain_text").iterdir(), key=lambda file: (file.name < "train", file.name))
    assert digests((str(tmp_path),)) == {
        str(tmp_path): " ".join(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)
    }


def test_a_hub_id_is_read_from_the_hubs_cache_and_known_by_its_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    commit = "0b2714987fa478483af9968de7c934580d0bb9a2"
    repository = tmp_path / "datasets--uoft-cs--cifar10"
    assert digests(("uoft-cs/cifar10",)) == {"uoft-cs/cifar10": "absent"}
    with pytest.raises(
        ValueError, match=r"images uoft-cs/cifar10 are not on this machine.*hf download uoft-cs/cifar10"
    ):
        load_images("uoft-cs/cifar10")
    write_cifar(repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    check_cifar(load_images("uoft-cs/cifar10"))
    assert digests(("uoft-cs/cifar10",)) == {"uoft-cs/cifar10": commit}


def test_files_of_the_datasets_library_itself_are_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=["airplane", "bird"])})
    pictures = [Image.fromarray(picture) for picture in colours(3)]
    made = datasets.Dataset.from_dict({"img": pictures, "label": [0, 1, 1]}, features=features)
    made.to_parquet(str(tmp_path / "train-00000-of-00001.parquet"))
    images = load_images(str(tmp_path))
    assert np.array_equal((images.images * 255).round().byte().numpy(), colours(3).transpose(0, 3, 1, 2))
    assert (images.labels.tolist(), images.classes, images.test_count) == ([0, 1, 1], ("airplane", "bird"), 0)


def test_of_two_labels_the_fine_one_is_predicted(tmp_path: Path) -> None:
    fine = {"names": ["apple", "bear", "bee"], "_type": "ClassLabel"}
    features = {"img": {"_type": "Image"}, "coarse_label": CIFAR_FEATURES["label"], "fine_label": fine}
    pictures = [encoded(picture) for picture in colours(2)]
    write_parquet(tmp_path / "train-0.parquet", pictures, features, coarse_label=[0, 1], fine_label=[2, 0])
    images = load_images(str(tmp_path))
    assert (images.classes, images.labels.tolist()) == (("apple", "bear", "bee"), [2, 0])


def test_grey_images_have_one_channel_and_others_are_made_like_the_first(tmp_path: Path) -> None:
    grey = colours(2)[:, :, :, 0]
    for folder, pictures, channels in (("grey", [grey[0], grey[1]], 1), ("mixed", [colours(2)[0], grey[1]], 3)):
        encoded_ones = [encoded(picture) for picture in pictures]
        write_parquet(tmp_path / folder / "train-0.parquet", encoded_ones, CIFAR_FEATURES, label=[0, 1])
        images = load_images(str(tmp_path / folder))
        assert images.images.shape == (2, channels, 5, 6)
        assert np.array_equal((images.images[1, 0] * 255).round().byte().numpy(), grey[1])


def bad_sets() -> dict[str, tuple[list[bytes | None], dict | None, dict, str]]:
    one, other = encoded(colours(1)[0]), encoded(colours(1)[0][:3])
    two = {"img": {"_type": "Image"}, "a": CIFAR_FEATURES["label"], "b": CIFAR_FEATURES["label"]}
    return {
        "no description": ([one], None, {"label": [0]}, "does not say what its columns are"),
        "no labels": ([one], {"img": {"_type": "Image"}}, {"label": [0]}, "has no column of type ClassLabel"),
        "two labels": ([one], two, {"a": [0], "b": [0]}, "has the columns a, b of type ClassLabel; expected one, or"),
        "only paths": ([one, None], CIFAR_FEATURES, {"label": [0, 1]}, "1 images are names of other files"),
        "unlabelled": ([one, one], CIFAR_FEATURES, {"label": [0, -1]}, "1 images have no label"),
        "not an image": ([one, b"GIF"], CIFAR_FEATURES, {"label": [0, 1]}, "image 1 cannot be decoded"),
        "cut short": ([one[:60]], CIFAR_FEATURES, {"label": [0]}, "image 0 cannot be decoded"),
        "two sizes": (
            [one, other],
            CIFAR_FEATURES,
            {"label": [0, 1]},
            "image 1 has 3 x 6 pixels, and others have 5 x 6",
        ),
        "empty": ([], CIFAR_FEATURES, {"label": []}, "holds no images"),
    }


@pytest.mark.parametrize("kind", bad_sets())
def test_parquet_that_is_no_image_set_is_refused_with_what_was_found(kind: str, tmp_path: Path) -> None:
    pictures, features, labels, sentence = bad_sets()[kind]
    write_parquet(tmp_path / "train-0.parquet", pictures, features, **labels)
    with pytest.raises(ValueError, match=sentence):
        load_images(str(tmp_path))


def test_folders_without_one_plain_set_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no file train-\*\.parquet"):
        load_images(str(tmp_path))
    write_cifar(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "train-0.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"holds several sets \(other, plain_text\); give the folder of one"):
        load_images(str(tmp_path))
    with pytest.raises(ValueError, match=r"train-0\.parquet cannot be read as parquet"):
        load_images(str(tmp_path / "other"))


def test_an_unknown_name_gets_the_nearest_one() -> None:
    with pytest.raises(ValueError, match=r"no images called 'mnits' - did you mean 'mnist'.*or a hub id such as"):
        load_images("mnits")
