"""Invalid files: exit code 4 and a message, for any bytes."""

import random
import unittest

from command import CommandTest, normal, run, write_npy, write_safetensors


class Files(CommandTest):
    def quantize(self, path):
        return run("quantize", path, "--threads", 1)

    def check_mutations(self, path, header_bytes, rounds):
        with open(path, "rb") as file:
            good = file.read()
        self.assertEqual(self.quantize(path).returncode, 0)
        source = random.Random(6)
        refused = 0
        for turn in range(rounds):
            data = bytearray(good)
            if turn % 3 == 0:
                data = data[:source.randrange(len(data))]
            else:
                data[source.randrange(header_bytes)] = source.randrange(256)
            with open(path, "wb") as file:
                file.write(data)
            done = self.quantize(path)
            # A changed byte may make another legal file, whose tensor the library then takes or refuses.
            self.assertIn(done.returncode, (0, 2, 3, 4), (turn, done.stderr))
            if turn % 3 == 0:
                self.assertEqual(done.returncode, 4, (turn, done.stderr))
                self.assertIn(path, done.stderr)
            refused += done.returncode == 4
        self.assertGreater(refused, rounds // 3)

    def test_npy(self):
        write_npy(self.path("x.npy"), (1, 3, 2, 4), normal(24, 7))
        self.check_mutations(self.path("x.npy"), 80, 60)

    def test_safetensors(self):
        write_safetensors(self.path("x.safetensors"), {"x": ("F16", (1, 3, 2, 4), bytes(48))})
        self.check_mutations(self.path("x.safetensors"), 80, 60)

    def test_what_is_no_file(self):
        for path in ("/", "/dev/null", self.path("")):
            done = self.quantize(path)
            self.assertEqual(done.returncode, 4, done.stderr)


if __name__ == "__main__":
    unittest.main()
