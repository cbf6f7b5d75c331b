#!/usr/bin/env python3
"""Losses and their gradients, written a second time.

Each case has a step file and the same loss in NumPy, written from the formulas
of the papers with the gradient derived by hand. Both see the same fresh random
values; `r1c eval` must agree.

usage: oracle.py PATH/TO/r1c [TARGET]
"""

import json
import os
import random
import subprocess
import sys
import tempfile

import numpy as np

R1C = sys.argv[1]
TARGET = sys.argv[2] if len(sys.argv) > 2 else "reference"
SEED = int(os.environ.get("R1C_TEST_SEED", random.SystemRandom().randrange(2**32)))
RNG = np.random.default_rng(SEED)

# Both sides are float64 sums of at most a few hundred terms: they differ by the
# order of the sums, a few hundred times 1.1e-16 of the largest term. JSON holds
# 17 digits. Compiled formulas read float32 log-probabilities, and the cases give
# values that are float32 numbers already, so the same bound holds there.
TOLERANCE = 1e-10

HEADER = """
import rewards
import losses
import advantages
policy actor = load("m")
policy reference = actor
data d = jsonl("d.jsonl", prompt = "{q}", reward = number)
stage s(steps = 10) {
  o = sample(actor, d, groups = 8, group_size = 8, temperature = 1.0, max_new_tokens = 64)
"""


class Batch:
    """Tokens of all sequences in one array; owners say where each belongs."""

    def __init__(self, groups):
        self.group, lengths = [], []
        for g in range(groups):
            for _ in range(RNG.integers(1, 6)):
                self.group.append(g)
                lengths.append(int(RNG.integers(1, 9)))
        self.group = np.array(self.group)
        self.length = np.array(lengths)
        self.S, self.N = len(lengths), int(self.length.sum())
        self.seq = np.repeat(np.arange(self.S), self.length)
        f32 = lambda x: x.astype(np.float32).astype(np.float64)
        self.mu = f32(RNG.uniform(-3, -0.01, self.N))  # recorded
        self.lp = f32(self.mu + RNG.uniform(-0.9, 0.9, self.N))  # updated policy
        self.old = f32(self.mu + RNG.uniform(-0.9, 0.9, self.N))  # before the update
        self.ref = f32(self.lp + RNG.uniform(-0.5, 0.5, self.N))
        self.h = f32(RNG.uniform(0.05, 3, self.N))
        self.reward = np.round(RNG.uniform(-1, 1, self.S), 3)

    def per_sequence(self, x):
        return np.array([x[self.seq == s].sum() for s in range(self.S)])

    def lists(self, x):
        return [x[self.seq == s].tolist() for s in range(self.S)]

    def center(self):
        means = np.array([self.reward[self.group == g].mean() for g in self.group])
        return self.reward - means

    def zscore(self, eps=1e-6):
        std = [self.reward[self.group == g].std(ddof=1) if (self.group == g).sum() > 1 else 0 for g in self.group]
        return self.center() / (np.array(std) + eps)


def surrogate(ratio, a, low, high):
    """PPO's clipped gain, and its derivative by the ratio."""
    clipped = np.clip(ratio, 1 - low, 1 + high)
    first = ratio * a <= clipped * a
    inside = (ratio >= 1 - low) & (ratio <= 1 + high)
    return np.minimum(ratio * a, clipped * a), np.where(first | inside, a, 0.0)


# Each oracle gives the loss, dL/dl and dL/dH.


def grpo(b, beta=0.0, low=0.2, high=0.2):
    ratio, a = np.exp(b.lp - b.mu), b.zscore()[b.seq]
    gain, d = surrogate(ratio, a, low, high)
    r = b.ref - b.lp
    term = gain - beta * (np.exp(r) - r - 1)
    weight = 1 / (b.S * b.length[b.seq])
    return -(term * weight).sum(), -weight * (d * ratio - beta * (1 - np.exp(r))), 0 * b.h


def dr_grpo(b, limit=3000):
    ratio, a = np.exp(b.lp - b.mu), b.center()[b.seq]
    gain, d = surrogate(ratio, a, 0.2, 0.2)
    return -gain.sum() / (b.S * limit), -d * ratio / (b.S * limit), 0 * b.h


def dapo(b):
    ratio, a = np.exp(b.lp - b.mu), b.zscore()[b.seq]
    gain, d = surrogate(ratio, a, 0.2, 0.28)
    return -gain.sum() / b.N, -d * ratio / b.N, 0 * b.h


def gspo(b, eps=(0.2, 0.3)):
    s, a = np.exp(b.per_sequence(b.lp - b.mu) / b.length), b.zscore()
    gain, d = surrogate(s, a, *eps)
    return -gain.mean(), (-d * s / (b.S * b.length))[b.seq], 0 * b.h


def gspo_token(b, eps=(0.2, 0.3)):
    s = np.exp(b.per_sequence(b.lp - b.mu) / b.length)[b.seq]
    gain, d = surrogate(s, b.zscore()[b.seq], *eps)
    weight = 1 / (b.S * b.length[b.seq])
    return -(gain * weight).sum(), -weight * d * s, 0 * b.h


def cispo_absolute(b, cap=1.5):
    w, a = np.minimum(np.exp(b.lp - b.mu), cap), b.zscore()[b.seq]
    return -(w * a * b.lp).sum() / b.N, -w * a / b.N, 0 * b.h


def cispo_relative(b, eps=0.2):
    w, a = np.clip(np.exp(b.lp - b.mu), 1 - eps, 1 + eps), b.zscore()[b.seq]
    return -(w * a * b.lp).sum() / b.N, -w * a / b.N, 0 * b.h


def tis(b):
    w = np.minimum(np.exp(b.old - b.mu), 2.0)
    ratio = np.exp(b.lp - b.old)
    gain, d = surrogate(ratio, b.zscore()[b.seq], 0.2, 0.28)
    return -(w * gain).sum() / b.N, -w * d * ratio / b.N, 0 * b.h


def icepop(b):
    w = np.exp(b.old - b.mu)
    w = np.where((w >= 0.5) & (w <= 5), w, 0)
    near = (np.exp(b.per_sequence(b.old - b.mu)) <= 3)[b.seq]
    ratio = np.exp(b.lp - b.old)
    gain, d = surrogate(ratio, b.zscore()[b.seq], 0.2, 0.2)
    n = near.sum()
    if n == 0:
        return 0.0, 0 * b.lp, 0 * b.h
    return -(w * gain)[near].sum() / n, np.where(near, -w * d * ratio / n, 0), 0 * b.h


def k3(b):
    r = b.ref - b.lp
    return (np.exp(r) - r - 1).sum() / b.N, (1 - np.exp(r)) / b.N, 0 * b.h


def k3_times_ratio(b):
    """The bias-corrected one: its derivative is ratio * (lp - ref)."""
    r, ratio = b.ref - b.lp, np.exp(b.lp - b.mu)
    return (ratio * (np.exp(r) - r - 1)).sum() / b.N, ratio * -r / b.N, 0 * b.h


def entropy_bonus(b, c=0.01):
    loss, g, _ = dapo(b)
    return loss - c * b.h.mean(), g, np.full(b.N, -c / b.N)


def entropy_mask(b, q=0.8):
    fork = b.h >= np.quantile(b.h, q)
    ratio = np.exp(b.lp - b.mu)
    gain, d = surrogate(ratio, b.zscore()[b.seq], 0.2, 0.28)
    return -gain[fork].sum() / b.N, np.where(fork, -d * ratio / b.N, 0), 0 * b.h


def reinforce(b):
    a = b.center()[b.seq]
    return -(a * b.lp).sum() / b.N, -a / b.N, 0 * b.h


def reinforce_plus_plus(b, beta=0.01):
    """KL in the reward, return to go, whitened over all tokens; then PPO's clip."""
    r = -beta * (b.mu - b.ref)
    ends = np.cumsum(b.length) - 1
    r[ends] += b.reward
    togo = np.concatenate([np.cumsum(r[b.seq == s][::-1])[::-1] for s in range(b.S)])
    a = (togo - togo.mean()) / np.sqrt((togo.var(ddof=1) if b.N > 1 else 0) + 1e-8)
    ratio = np.exp(b.lp - b.mu)
    gain, d = surrogate(ratio, a, 0.2, 0.2)
    return -gain.sum() / b.N, -d * ratio / b.N, 0 * b.h


def sapo(b, tau=1.05):
    """Soft gates: 4/tau sigmoid(tau (ratio - 1))."""
    ratio, a = np.exp(b.lp - b.mu), b.zscore()[b.seq]
    sigma = 1 / (1 + np.exp(-tau * (ratio - 1)))
    gain = 4 / tau * sigma * a
    return -gain.sum() / b.N, -4 * sigma * (1 - sigma) * a * ratio / b.N, 0 * b.h


ZSCORE = "  advantage = advantages.zscore(o.reward)\n"
CENTER = "  advantage = advantages.center(o.reward)\n"
RATIO = "ratio = exp(lp - o.logp)\n"

CASES = [
    (grpo, ZSCORE, None, "losses.grpo(actor, o, advantage)"),
    (lambda b: grpo(b, 0.04, 0.1, 0.3), ZSCORE, None, "losses.grpo(actor, o, advantage, reference = reference, eps_low = 0.1, eps_high = 0.3, beta = 0.04)"),
    (dapo, ZSCORE, None, "losses.dapo(actor, o, advantage)"),
    (reinforce, CENTER, None, "losses.reinforce(actor, o, token(advantage))"),
    (dr_grpo, CENTER, RATIO + "minimize -batch.sum(losses.surrogate(ratio, token(advantage), 0.2, 0.2)) / (batch.sequences * 3000)", None),
    (gspo, ZSCORE, "s = exp(sequence.mean(lp - o.logp))\nminimize -batch.mean(losses.surrogate(s, advantage, 0.2, 0.3))", None),
    (gspo_token, ZSCORE, "s = exp(token(stop(sequence.mean(lp - o.logp))) + lp - stop(lp))\nminimize -batch.mean(sequence.mean(losses.surrogate(s, token(advantage), 0.2, 0.3)))", None),
    (cispo_absolute, ZSCORE, RATIO + "minimize -batch.mean(stop(min(ratio, 1.5)) * token(advantage) * lp)", None),
    (cispo_relative, ZSCORE, RATIO + "minimize -batch.mean(stop(clip(ratio, 1 - 0.2, 1 + 0.2)) * token(advantage) * lp)", None),
    (tis, "  old = logp(reference, o)\n  w = min(exp(old - o.logp), 2.0)\n" + ZSCORE, "ratio = exp(lp - old)\nminimize -batch.mean(w * losses.surrogate(ratio, token(advantage), 0.2, 0.28))", None),
    (icepop, "  old = logp(reference, o)\n  w = exp(old - o.logp)\n  ice = w if w >= 0.5 and w <= 5 else 0\n  near = exp(sequence.sum(old - o.logp)) <= 3\n" + ZSCORE,
     "ratio = exp(lp - old)\nminimize -batch.mean(ice * losses.surrogate(ratio, token(advantage), 0.2, 0.2) where token(near))", None),
    (k3, "", "minimize batch.mean(losses.k3(lp, logp(reference, o)))", None),
    (k3_times_ratio, "", RATIO + "minimize batch.mean(ratio * losses.k3(lp, logp(reference, o)))", None),
    (entropy_bonus, ZSCORE, RATIO + "minimize -batch.mean(losses.surrogate(ratio, token(advantage), 0.2, 0.28)) - 0.01 * batch.mean(entropy(actor, o))", None),
    (entropy_mask, ZSCORE, "h = entropy(actor, o)\nfork = h >= batch.quantile(h, 0.8)\n" + RATIO + "minimize -batch.mean(losses.surrogate(ratio, token(advantage), 0.2, 0.28) if fork else 0)", None),
    (reinforce_plus_plus, "  r = (token(o.reward) if o.last else 0) - 0.01 * (o.logp - logp(reference, o))\n  advantage = advantages.whiten(sequence.suffix_sum(r))\n",
     RATIO + "minimize -batch.mean(losses.surrogate(ratio, advantage, 0.2, 0.2))", None),
    (sapo, ZSCORE, RATIO + "minimize -batch.mean(4 / 1.05 * sigmoid(1.05 * (ratio - 1)) * token(advantage))", None),
]


def step_file(before, body, call):
    text = HEADER + before
    if body:
        text += "  loss mine {\n"
        if "lp" in body:
            text += "    lp = logp(actor, o)\n"
        text += "".join("    " + line + "\n" for line in body.splitlines()) + "  }\n"
    return text + f"  update(actor, {call or 'mine'}, adamw(lr = 1e-6))\n}}\n"


def run(text, values, arguments=(), expect=0):
    with tempfile.TemporaryDirectory() as folder:
        step, given = os.path.join(folder, "step.r1"), os.path.join(folder, "values.json")
        with open(step, "w") as f:
            f.write(text)
        with open(given, "w") as f:
            json.dump(values, f)
        done = subprocess.run([R1C, "eval", step, "--in", given, "--target", TARGET, *arguments], capture_output=True, text=True)
    if (done.returncode != 0) != (expect != 0):
        sys.exit(f"R1C_TEST_SEED={SEED}\n{text}\n{done.stdout}{done.stderr}")
    return json.loads(done.stdout) if expect == 0 else done.stderr


def values_of(b, reads_old):
    sequences = [
        {"group": int(b.group[s]), "logp": b.mu[b.seq == s].tolist(), "reward": float(b.reward[s])} for s in range(b.S)
    ]
    return {
        "outputs": {"o": {"sequences": sequences}},
        "logp": {"actor": b.lists(b.lp), "reference": b.lists(b.old if reads_old else b.ref)},
        "entropy": {"actor": b.lists(b.h)},
    }


def close(name, mine, theirs):
    mine, theirs = np.atleast_1d(mine), np.atleast_1d(theirs)
    scale = max(np.abs(theirs).max(), np.abs(mine).max(), 1e-300)
    error = np.abs(mine - theirs).max() / scale if scale > 1e-300 else 0
    if not error <= TOLERANCE:
        sys.exit(f"R1C_TEST_SEED={SEED}\n{name}: relative error {error}\n{mine}\n{theirs}")


def check_losses():
    for number, (oracle, before, body, call) in enumerate(CASES):
        # Without a statement of the loss itself: `before` holds it.
        text = step_file(before, body, call)
        for groups in (1, 3, 6):
            b = Batch(groups)
            result = run(text, values_of(b, "old = logp" in before))
            loss, g, h = oracle(b)
            name = f"case {number}, {groups} groups"
            # Sums whose terms cancel: relative to the terms, not to what is left.
            close(name + ", loss", [result["loss"], 1.0], [loss, 1.0])
            close(name + ", logp", np.concatenate(result["gradient"]["logp"]), g)
            close(name + ", entropy", np.concatenate(result["gradient"]["entropy"]), h)


def check_let():
    """A definition that is replaced, and one through which no gradient passes."""
    b = Batch(3)
    text = step_file(ZSCORE, RATIO + "minimize -batch.mean(ratio * token(advantage) * lp)", None)
    values = values_of(b, False)
    a, ratio = RNG.uniform(-1, 1, b.S), RNG.uniform(0.5, 2, b.N)
    values["let"] = {"advantage": a.tolist(), "ratio": b.lists(ratio)}
    result = run(text, values)
    close("let, loss", result["loss"], -(ratio * a[b.seq] * b.lp).mean())
    close("let, logp", np.concatenate(result["gradient"]["logp"]), -ratio * a[b.seq] / b.N)


def check_errors():
    b = Batch(2)
    text = step_file(ZSCORE, "minimize batch.mean(losses.k3(lp, logp(reference, o)) * token(advantage))", None)

    def refused(change, *words):
        values = values_of(b, False)
        change(values)
        message = run(text, values, expect=1)
        for word in words:
            if word not in message:
                sys.exit(f"{word!r} is not in {message!r}")

    refused(lambda v: v["logp"].pop("reference"), "step.r1:", "logp(reference, o)", '"logp": {"reference": [[one a token]]}')
    refused(lambda v: v["logp"].pop("actor"), "logp(actor, o)")
    refused(lambda v: v["logp"]["actor"].pop(), "logp.actor: a list of", "one for each sequence")
    refused(lambda v: v["logp"]["actor"][0].append(0.0), "logp.actor: sequence 0 needs a list of")
    refused(lambda v: v["outputs"]["o"]["sequences"][0].pop("reward"), "o.reward")
    refused(lambda v: v["outputs"]["o"]["sequences"][0].pop("group"), "sequence 0 has no whole number 'group'")
    refused(lambda v: v.update(lett={}), "nothing reads 'lett'")
    refused(lambda v: v.update(let={"advantages": 1}), "let.advantages", "there are", "advantage")


check_losses()
check_let()
check_errors()
print(f"{len(CASES)} losses agree (R1C_TEST_SEED={SEED}, target {TARGET})")
