"""Pictures of arrays as SVG files, drawn with NumPy and the standard library: for the other examples."""

import base64
import html
import struct
import zlib

import numpy as np

# Colours at equal distances: dark to bright, and blue over white to red.
BRIGHTNESS = np.array([(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)], float)
SIGNED = np.array([(33, 102, 172), (146, 197, 222), (255, 255, 255), (244, 165, 130), (178, 24, 43)], float)
LINES = ("#0b6e4f", "#c1292e", "#235789", "#e08e0b", "#7d5ba6", "#8a8d91", "#2f9c95", "#64513b")


def coloured(values, low, high, colours=BRIGHTNESS):
    """[..., 3] bytes: `low` has the first colour, `high` the last; NaN is white."""
    place = (np.clip(values, low, high) - low) / (high - low) * (len(colours) - 1)
    below = np.minimum(np.nan_to_num(place).astype(int), len(colours) - 2)
    part = (place - below)[..., None]
    mixed = colours[below] * (1 - part) + colours[below + 1] * part
    return np.where(np.isnan(mixed), 255, mixed).round().astype(np.uint8)


def png(rgb):
    """The bytes of a PNG file of [height, width, 3] bytes."""
    height, width, _ = rgb.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), rgb.reshape(height, -1)], axis=1)  # 0: no filter

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines.tobytes(), 9))
            + chunk(b"IEND", b""))


class Picture:
    """Parts are placed by their top left corner, in pixels."""

    def __init__(self, width, height):
        self.width, self.height, self.parts = width, height, []

    def text(self, x, y, text, size=12, anchor="start"):
        self.parts.append(f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}">{html.escape(text)}</text>')

    def image(self, x, y, width, height, rgb):
        data = base64.b64encode(png(rgb)).decode()
        self.parts.append(f'<image x="{x}" y="{y}" width="{width}" height="{height}" preserveAspectRatio="none" '
                          f'style="image-rendering:pixelated" href="data:image/png;base64,{data}"/>'
                          f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="none" stroke="#888"/>')

    def scale(self, x, y, width, colours, left, right):
        """A bar of colours with the values of its ends."""
        self.image(x, y, width, 10, coloured(np.linspace(0, 1, width)[None], 0, 1, colours))
        self.text(x, y + 23, left, 11)
        self.text(x + width, y + 23, right, 11, "end")

    def line(self, points, colour, dots=True):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if dots:
            self.parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in points]

    def save(self, path):
        head = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
                f'width="{self.width}" height="{self.height}" font-family="sans-serif">'
                '<rect width="100%" height="100%" fill="white"/>')
        path.write_text("\n".join([head, *self.parts, "</svg>"]) + "\n")


def chart(path, title, names, series, unit):
    """Lines over named positions, with a logarithmic axis; `series`: name -> a positive value for each position."""
    left, top, wide, high = 60, 40, max(420, 26 * len(names)), 300
    picture = Picture(left + wide + 150, top + high + 50)
    picture.text(left, 22, title, 14)
    values = np.array([one for line in series.values() for one in line])
    low, high_end = np.floor(np.log10(values.min())), np.ceil(np.log10(values.max()))

    def height_of(value):
        return top + high * (1 - (np.log10(value) - low) / (high_end - low))

    for power in np.arange(low, high_end + 1):
        y = height_of(10.0**power)
        picture.line([(left, y), (left + wide, y)], "#ddd", dots=False)
        picture.text(left - 6, y + 4, f"{10.0**power:g}{unit}", 11, "end")
    steps = [left + wide * (i + 0.5) / len(names) for i in range(len(names))]
    for x, name in zip(steps, names):
        picture.text(round(x), top + high + 18, name, 11, "middle")
    for i, (name, line) in enumerate(series.items()):
        picture.line([(x, height_of(value)) for x, value in zip(steps, line)], LINES[i % len(LINES)])
        key = top + 8 + 18 * i
        picture.line([(left + wide + 10, key), (left + wide + 30, key)], LINES[i % len(LINES)])
        picture.text(left + wide + 36, top + 12 + 18 * i, name)
    picture.save(path)
