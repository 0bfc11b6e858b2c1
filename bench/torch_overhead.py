#!/usr/bin/env python3
"""What a call of octavo.torch costs beyond octavo.attention, in microseconds of one thread's processor time.

    torch_overhead.py [--rounds N] [--calls N]

Calls are tiny (one head, 4 x 4, D 8), so that nearly all of their time is Python and the binding. The calls are
interleaved; a row is the median over the rounds, and its difference to octavo.attention of the same round.

The last row is the least that an operator whose kernel is a Python function can cost: octavo.attention, and after it an
operator of the same schema, registered for the CPU only, whose kernel returns a tensor that exists. It is measured
after a call, as the dispatcher's instructions are not in the processor's caches then, as in octavo's own operator.
"""

import argparse
import statistics
import time

import torch

import octavo
import octavo.torch
from octavo.torch import _operators


def cost(call, calls):
    call()
    start = time.thread_time()
    for _ in range(calls):
        call()
    return (time.thread_time() - start) / calls * 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--calls", type=int, default=300)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    q, k, v = (torch.randn(1, 1, 4, 8) for _ in range(3))
    options = ("int8", "none", "HND")
    operator = torch.ops.octavo.attention.default
    library = torch.library.Library("octavo_bench", "DEF")
    library.define("empty" + _operators._SCHEMAS["attention"])
    library.impl("empty", lambda *arguments: q, "CPU")
    empty = torch.ops.octavo_bench.empty.default

    def with_empty_operator():
        octavo.attention(q, k, v, layout="HND")
        empty(q, k, v, *options)

    calls = {
        "octavo.attention": lambda: octavo.attention(q, k, v, layout="HND"),
        "octavo.torch.attention": lambda: octavo.torch.attention(q, k, v, layout="HND"),
        "octavo.torch.scaled_dot_product_attention": lambda: octavo.torch.scaled_dot_product_attention(q, k, v),
        "torch.ops.octavo.attention": lambda: operator(q, k, v, *options),
        "octavo.attention and an empty operator": with_empty_operator,
    }
    print(f"{'':45}  grad mode          inference mode")
    figures = {name: [] for name in calls}
    with octavo.threads(1):
        for mode in (torch.enable_grad, torch.inference_mode):
            with mode():
                rounds = [{name: cost(call, arguments.calls) for name, call in calls.items()}
                          for _ in range(arguments.rounds)]  # fmt: skip
            for name in calls:
                own = statistics.median(one[name] for one in rounds)
                more = statistics.median(one[name] - one["octavo.attention"] for one in rounds)
                figures[name].append(f"{own:6.1f} us {more:+6.1f}")
    for name, parts in figures.items():
        print(f"{name:45} {'   '.join(parts)}")


if __name__ == "__main__":
    main()
