"""A whole GRPO step on SmolLM2-135M, beside TRL's GRPOTrainer.

4 prompts with 8 samples of 64 new tokens each, a reward that counts words, one update by AdamW, no reference. Both
start from the same directory, whose end token the model never says, so that every sample is of full length. TRL:
transformers' generation, no gradient checkpointing, no second pass for old log-probabilities, and for bfloat16
weights and optimizer state in bfloat16, which r1c keeps in float32. Its time is that of the trainer's step, r1c's
that of a round, each after a warm-up; memory is the largest resident size of the whole process.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

import common

sys.path.pop(0)  # this file has the name of the package that it measures

PROMPTS = ["The little dog ran down to the river and then", "On the first morning of the journey we all",
           "My grandmother always told us that the old house", "If you want to bake good bread you should"]
GROUP, NEW = 8, 64


def child(model, dtype):
    """Trains one step a line of standard input, answers with its seconds; a last line has the memory."""
    torch, trl, transformers, datasets = common.need("torch", "trl", "transformers", "datasets")
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what the trainer prints is no answer

    class Ask(transformers.TrainerCallback):
        def on_step_begin(self, args, state, control, **_):
            if not sys.stdin.readline():
                control.should_training_stop = True
            self.start = time.perf_counter()

        def on_step_end(self, args, state, control, **_):
            print(time.perf_counter() - self.start, file=answers)

    lengths = []

    def reward(completions, completion_ids, **_):
        lengths.extend(map(len, completion_ids))
        return [float(len(text.split())) for text in completions]

    config = trl.GRPOConfig(
        output_dir=str(common.WORK / "trl"), use_cpu=True, bf16=dtype == "bf16", gradient_checkpointing=False,
        per_device_train_batch_size=len(PROMPTS) * GROUP, num_generations=GROUP, gradient_accumulation_steps=1,
        max_completion_length=NEW, temperature=1.0, beta=0.0, num_iterations=1, learning_rate=1e-6,
        lr_scheduler_type="constant", optim="adamw_torch_fused", max_grad_norm=1.0, loss_type="grpo",
        logging_steps=1000, save_strategy="no", report_to=[], disable_tqdm=True, max_steps=100, seed=1,
        model_init_kwargs={"dtype": "bfloat16" if dtype == "bf16" else "float32", "attn_implementation": "sdpa"})
    trainer = trl.GRPOTrainer(model=str(model), reward_funcs=reward, args=config, callbacks=[Ask()],
                              train_dataset=datasets.Dataset.from_dict({"prompt": PROMPTS * 50}))
    trainer.train()
    assert set(lengths) == {NEW}, f"TRL's samples have {sorted(set(lengths))} tokens"
    print(json.dumps({"memory": common.high_water()}), file=answers)


def artifact(model, dtype):
    (common.WORK / "trl.jsonl").write_text("".join(json.dumps({"question": text}) + "\n" for text in PROMPTS))
    return common.compile_step(f"trl-{dtype}", f"""import losses
import advantages
policy actor = load("{model.name}", context = 96)
data prompts = jsonl("trl.jsonl", prompt = "{{question}}")
stage train(steps = 3) {{
  o = sample(actor, prompts, groups = {len(PROMPTS)}, group_size = {GROUP}, temperature = 1.0, max_new_tokens = {NEW})
  update(actor, losses.grpo(actor, o, advantages.zscore(words(o.text))), adamw(lr = 1e-6, clip_norm = 1.0))
  metric length = rollout.min(o.length)
}}
""", f"--weights={'float32' if dtype == 'f32' else 'bfloat16'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=common.WORK / "model", help="SmolLM2-135M's directory")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtypes", nargs="+", default=["f32", "bf16"], choices=["f32", "bf16"])
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(*options.child)
    torch, trl, _ = common.need("torch", "trl", "datasets")
    common.need_model(options.model)
    model = common.endless(options.model)
    threads = len(os.sched_getaffinity(0))
    log, rows = common.WORK / "trl.log", []
    for dtype in options.dtypes:
        step_file = artifact(model, dtype)
        process = subprocess.Popen([sys.executable, __file__, "--child", model, dtype], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=open(log, "w"), text=True)

        def answer():
            print(file=process.stdin, flush=True)
            line = process.stdout.readline()
            if not line:
                sys.exit("TRL ended: " + log.read_text()[-3000:])
            return json.loads(line)
        theirs, mine, sizes = [], [], []
        for _ in range(options.rounds):
            lines, size = common.run_step(step_file, threads)
            assert all(line["length"] == NEW for line in lines)
            mine += [line["seconds"] for line in lines[1:]]
            sizes.append(size)
            theirs.append(answer())
            common.say(f"{dtype}: TRL {theirs[-1]:.1f} s, r1c {mine[-1]:.1f} s")
        process.stdin.close()
        for line in process.stdout:
            last = json.loads(line)
        if process.wait(60):
            sys.exit("TRL ended: " + log.read_text()[-3000:])
        memory = last["memory"]
        theirs = theirs[1:] or theirs  # the first one warms up
        case = f"{threads}T {len(PROMPTS)}x{GROUP}x{NEW}"
        rows.append(common.row(f"GRPO step {dtype}", case, "s", statistics.median(theirs), statistics.median(mine), 5.0))
        rows.append(common.row(f"GRPO step {dtype}, memory", case, "MiB", memory / 2**20, max(sizes) / 2**20, 2.0))
    common.report("trl", f"TRL {trl.__version__}, PyTorch {torch.__version__}", rows, rounds=options.rounds)


if __name__ == "__main__":
    main()
