"""Measurements on any model. They know no finding."""
