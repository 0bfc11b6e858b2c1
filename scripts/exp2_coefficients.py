#!/usr/bin/env python3
"""Coefficients of src/spec/exp2_poly.hpp: polynomials for 2^f with the least largest relative
error, on [-1/2, 1/2] (Exp2Nearest) and on [0, 1] (Exp2Floor).

Remez exchange on the weighted problem |p(f) 2^-f - 1|, in double; the coefficients are then rounded to f32, and the
error of the rounded polynomial is bounded over the whole interval: on a grid of step h the error is sampled exactly
(double), and between samples it moves by at most h/2 times a bound of its derivative.
"""

import math

import numpy as np

LN2 = math.log(2.0)


def remez(degree: int, first: float) -> np.ndarray:
    """c[0..degree] that minimise max |p(f) 2^-f - 1| over [first, first + 1]."""
    count = degree + 2
    points = first + 0.5 - 0.5 * np.cos(np.pi * np.arange(count) / (count - 1))
    grid = np.linspace(first, first + 1, 200_001)
    for _ in range(50):
        weight = 2.0**-points
        system = np.zeros((count, count))
        for power in range(degree + 1):
            system[:, power] = points**power * weight
        system[:, -1] = (-1.0) ** np.arange(count)
        solution = np.linalg.solve(system, np.ones(count))
        coefficients = solution[:-1]
        error = relative_error(coefficients, grid)
        # One extremum in each interval of constant sign.
        borders = np.flatnonzero(np.signbit(error[1:]) != np.signbit(error[:-1])) + 1
        pieces = np.split(np.arange(grid.size), borders)
        if len(pieces) != count:
            break
        exchanged = np.array([grid[piece[np.argmax(np.abs(error[piece]))]] for piece in pieces])
        if np.max(np.abs(exchanged - points)) < 1e-9:
            break
        points = exchanged
    return coefficients


def relative_error(coefficients: np.ndarray, f: np.ndarray) -> np.ndarray:
    return np.polynomial.polynomial.polyval(f, coefficients) * 2.0**-f - 1.0


def bound(coefficients: np.ndarray, first: float) -> float:
    """Proved upper bound of the relative error over the interval (exact evaluation of the polynomial)."""
    samples = 2_000_001
    f = np.linspace(first, first + 1, samples)
    largest = float(np.max(np.abs(relative_error(coefficients, f))))
    # |d/df (p 2^-f)| <= 2^-first (|p'| + ln2 |p|), bounded by the sums of the coefficients' magnitudes; the second
    # order keeps the bound tight: e' is sampled too and moves by at most h/2 times a bound of e''.
    powers = np.arange(coefficients.size)
    magnitudes, largest_f = np.abs(coefficients), max(-first, first + 1)
    p0 = float(np.sum(magnitudes * largest_f**powers))
    p1 = float(np.sum((magnitudes * powers)[1:] * largest_f ** (powers[1:] - 1)))
    p2 = float(np.sum((magnitudes * powers * (powers - 1))[2:] * largest_f ** (powers[2:] - 2)))
    second = 2.0**-first * (p2 + 2 * LN2 * p1 + LN2 * LN2 * p0)
    derivative = np.polynomial.polynomial.polyder(coefficients)
    polyval = np.polynomial.polynomial.polyval
    slope = (polyval(f, derivative) - LN2 * polyval(f, coefficients)) * 2.0**-f
    step = 1.0 / (samples - 1)
    first = float(np.max(np.abs(slope))) + second * step / 2
    return largest + first * step / 2 + 1e-14  # the last term: rounding of this script's own double arithmetic


def main() -> None:
    for name, first in (("Exp2Nearest", -0.5), ("Exp2Floor", 0.0)):
        for degree in (4, 5):
            exact = remez(degree, first)
            rounded = exact.astype(np.float32).astype(np.float64)
            if degree == 5:
                rounded[0] = 1.0  # its neighbour in f32 is as good, and 2^0 is exact: the largest weight is exactly 1
            text = ", ".join(f"{np.float32(c).item().hex()}f" for c in rounded)
            minimax = np.max(np.abs(relative_error(exact, np.linspace(first, first + 1, 100001))))
            print(f"{name}, degree {degree}: minimax {minimax:.4e}, f32 coefficients <= {bound(rounded, first):.4e}")
            print(f"  {{{text}}}")
            print("  " + ", ".join(f"{np.float32(c).item():.9g}" for c in rounded))


if __name__ == "__main__":
    main()
