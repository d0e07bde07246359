"""Whose the pictures are: an index by person, made once, so that no draw passes over all pictures."""

from __future__ import annotations

from itertools import chain, islice, zip_longest

import numpy as np


class People:
    """What drawing needs to know of n pictures; persons (n,) int, whose each is; yaw (degrees), light and face_size
    (n,), as in `Sample`; photos (n,) int, of which picture each is a view (None: of its own); shapes (n, 2) int, height
    and width in pixels (None: all alike).

    Making it sorts all pictures. What is asked of it afterwards costs as much as the persons have pictures that it is
    asked of, however many others there are.
    """

    def __init__(
        self,
        *,
        persons: np.ndarray,
        yaw: np.ndarray,
        light: np.ndarray,
        face_size: np.ndarray,
        photos: np.ndarray | None = None,
        shapes: np.ndarray | None = None,
    ) -> None:
        self.persons, self.yaw, self.light, self.face_size = persons, yaw, light, face_size
        self.photos = np.arange(len(persons)) if photos is None else photos
        self._rows = np.argsort(persons, kind="stable")  # those of a person in a row, in their order
        self._first = np.searchsorted(persons[self._rows], np.arange(persons.max(initial=-1) + 2))
        numbers = np.flatnonzero(np.diff(self._first))  # of the persons who have pictures
        largest = np.maximum.reduceat(face_size[self._rows], self._first[numbers]) if len(numbers) else face_size[:0]
        order = np.argsort(-largest, kind="stable")
        self._by_face, self._largest = numbers[order], largest[order]
        self._of_shape = [] if shapes is None else self._by_shape(shapes)

    def _by_shape(self, shapes: np.ndarray) -> list[tuple[np.ndarray, People]]:
        """The pictures of each shape, and their own index; empty where all are alike."""
        kinds, which = np.unique(shapes, axis=0, return_inverse=True)
        if len(kinds) < 2:
            return []
        every = [np.flatnonzero(which.reshape(-1) == kind) for kind in range(len(kinds))]
        names = ("persons", "yaw", "light", "face_size")
        return [(rows, People(**{name: getattr(self, name)[rows] for name in names})) for rows in every]

    def __len__(self) -> int:
        """How many persons there are."""
        return len(self._by_face)

    @property
    def largest_face(self) -> float:
        """Of all pictures."""
        return float(self._largest[0])

    def pictures_of(self, person: int) -> np.ndarray:
        """(k,) the person's pictures, in their order."""
        return self._rows[self._first[person] : self._first[person + 1]]

    def groups(self) -> list[np.ndarray]:
        """The pictures of each person, in the order of the persons' numbers."""
        return [self.pictures_of(person) for person in np.sort(self._by_face).tolist()]

    def spread(self, count: int) -> np.ndarray:
        """(count,) pictures of as many persons as there are, fewer where there are fewer: each one's first, then each
        one's second, and so on."""
        rounds = zip_longest(*(rows.tolist() for rows in self.groups()))
        return np.array(list(islice((row for row in chain(*rounds) if row is not None), count)), int)

    def draw(self, count: int, rng: np.random.Generator, *, least_face: float = 0.0) -> np.ndarray:
        """(count,) pictures of one shape with a face of `least_face` or more: a person first, each as likely as any
        other who has such a picture, then one of the person's. A shape comes as often as it has pictures. ValueError:
        there is none."""
        least = np.float32(least_face)
        if fit := [(rows, part) for rows, part in self._of_shape if part.largest_face >= least]:
            sizes = np.array([len(rows) for rows, _ in fit])
            rows, part = fit[rng.choice(len(fit), p=sizes / sizes.sum())]
            return rows[part.draw(count, rng, least_face=least_face)]
        fitting = self._by_face[: np.searchsorted(-self._largest, -least, side="right")]
        if not len(fitting):
            raise ValueError(f"no picture has a face of {least_face:.2f} of the picture")
        persons = fitting[rng.integers(len(fitting), size=count)]
        return np.array([self._one_of(person, least, rng) for person in persons.tolist()])

    def _one_of(self, person: int, least: np.float32, rng: np.random.Generator) -> int:
        rows = self.pictures_of(person)
        rows = rows[self.face_size[rows] >= least]
        return int(rows[rng.integers(len(rows))])
