"""octavo, octavo info: information about the tool, and errors for unknown arguments."""

import unittest

from command import CommandTest, run


class Info(CommandTest):
    def test_lists_implementations_recipes_and_environment(self):
        info = self.json("info", env={"OCTAVO_LOG": "error"})
        names = [entry["name"] for entry in info["implementations"]]
        self.assertEqual(names[-1], "reference")
        self.assertEqual(len(set(names)), len(names))
        for entry in info["implementations"]:
            self.assertEqual(entry["supported"], entry["reason"] == "", entry)
        self.assertIn(info["active_implementation"], names)
        recipes = [entry["name"] for entry in info["recipes"]]
        self.assertEqual(recipes[0], "int8")
        self.assertIn("exact", recipes)
        self.assertEqual(info["environment"],
                         {"OCTAVO_FORCE_IMPLEMENTATION": None, "OCTAVO_NUM_THREADS": None, "OCTAVO_LOG": "error",
                          "OCTAVO_INTERLEAVE_SOFTMAX": None, "OCTAVO_CUDA_PING_PONG": None})
        self.assertGreaterEqual(info["threads"], 1)

    def test_text_goes_to_stdout_and_leaves_it_to_json(self):
        text = self.ok("info")
        self.assertIn("recipes (the first is the default)", text)
        done = run("info", "--json", "-")
        self.assertTrue(done.stdout.startswith("{"))
        self.assertIn("recipes (the first is the default)", done.stderr)

    def test_follows_the_environment(self):
        info = self.json("info", env={"OCTAVO_FORCE_IMPLEMENTATION": "reference", "OCTAVO_NUM_THREADS": "1"})
        self.assertEqual(info["active_implementation"], "reference")
        self.assertEqual(info["threads"], 1)
        self.assertTrue(all(entry["supported"] for entry in info["recipes"]))
        for value in (True, False):
            info = self.json("info", env={"OCTAVO_INTERLEAVE_SOFTMAX": "on" if value else "off"})
            self.assertEqual(info["interleaves_softmax"], value)

    def test_says_what_an_unknown_forced_implementation_is(self):
        info = self.json("info", env={"OCTAVO_FORCE_IMPLEMENTATION": "mmx"})
        self.assertIsNone(info["active_implementation"])
        self.assertIn("mmx", info["active_implementation_reason"])


class Usage(CommandTest):
    def test_help_and_version_are_no_errors(self):
        self.assertIn("Exit codes", self.ok("--help"))
        self.assertRegex(self.ok("--version"), r"^octavo \d+\.\d+\.\d+")
        for command in (["info"], ["demo"], ["run"], ["compare"], ["quantize"], ["bench"], ["bench", "attention"],
                        ["bench", "quantize"], ["bench", "peak"]):
            self.assertIn("Example", self.ok(*command, "--help"), command)

    def test_misuse_is_exit_code_2(self):
        self.fails(2, ["subcommand", "demo"])
        self.fails(2, ["subcommand", "peak"], "bench")
        self.fails(2, ["'fly'", "demo"], "fly")
        self.fails(2, ["'fly'", "peak"], "bench", "fly")
        self.fails(2, "--fly", "info", "--fly")
        self.fails(2, "--q", "run")

    def test_a_full_stdout_is_an_io_error(self):
        with open("/dev/full", "w") as full:
            self.assertEqual(run("info", stdout=full, stderr=-1).returncode, 4)


if __name__ == "__main__":
    unittest.main()
