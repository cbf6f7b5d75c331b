// RUN: r1c-opt %s --split-input-file --r1c-expand --verify-diagnostics

// Samples for evaluation may be filtered; nothing reads their log-probabilities.

rl.policy @actor init = {context = 32 : i64, head_dim = 32 : i64, heads = 4 : i64, init = 2.0e-2 : f64, kv_heads = 2 : i64, norm_epsilon = 1.0e-5 : f64, rope_theta = 1.0e4 : f64, tied = true, tokenizer = {alphabet = "0123456789+=", kind = "characters"}, hidden = 128 : i64, intermediate = 256 : i64, kind = "llama", layers = 2 : i64, vocabulary = 13 : i64}
rl.data @sums {columns = {answer = "text"}, file = "sums.jsonl", prompt = {kind = "plain", text = "{question}"}}
rl.stage @evaluate steps = 6 {
  %0 = rl.constant 4.0
  %p = rl.constant 0.9
  %o = rl.sample @actor from [@sums] groups(%0) group_size(%0) temperature(%0) max_new_tokens(%0) top_p(%p) max_groups = 4 max_group_size = 4 max_token_count = 4 : !rl.outputs<"o">
  %n = rl.field %o "length" : !rl.outputs<"o"> -> !rl.num<sequence of "o">
  %m = rl.reduce mean %n over rollout : !rl.num<sequence of "o"> -> !rl.num<one>
  rl.metric "length", %m
}

// -----

rl.policy @actor init = {context = 32 : i64, head_dim = 32 : i64, heads = 4 : i64, init = 2.0e-2 : f64, kv_heads = 2 : i64, norm_epsilon = 1.0e-5 : f64, rope_theta = 1.0e4 : f64, tied = true, tokenizer = {alphabet = "0123456789+=", kind = "characters"}, hidden = 128 : i64, intermediate = 256 : i64, kind = "llama", layers = 2 : i64, vocabulary = 13 : i64}
rl.data @sums {columns = {answer = "text"}, file = "sums.jsonl", prompt = {kind = "plain", text = "{question}"}}
rl.stage @score steps = 6 {
  %0 = rl.constant 4.0
  %k = rl.constant 20.0
  // expected-note @+1 {{sampled here}}
  %o = rl.sample @actor from [@sums] groups(%0) group_size(%0) temperature(%0) max_new_tokens(%0) top_k(%k) max_groups = 4 max_group_size = 4 max_token_count = 4 : !rl.outputs<"o">
  // expected-error @+1 {{logp and entropy of tokens that were sampled with top_p, top_k or min_p are not supported yet: leave the filter out of samples that are trained on or scored}}
  %l = rl.logprob @actor, %o : !rl.outputs<"o"> -> !rl.num<token of "o">
  %m = rl.reduce mean %l over rollout : !rl.num<token of "o"> -> !rl.num<one>
  rl.metric "logp", %m
}

// -----

// A filter that is off is none.
rl.policy @actor init = {context = 32 : i64, head_dim = 32 : i64, heads = 4 : i64, init = 2.0e-2 : f64, kv_heads = 2 : i64, norm_epsilon = 1.0e-5 : f64, rope_theta = 1.0e4 : f64, tied = true, tokenizer = {alphabet = "0123456789+=", kind = "characters"}, hidden = 128 : i64, intermediate = 256 : i64, kind = "llama", layers = 2 : i64, vocabulary = 13 : i64}
rl.data @sums {columns = {answer = "text"}, file = "sums.jsonl", prompt = {kind = "plain", text = "{question}"}}
rl.stage @off steps = 6 {
  %0 = rl.constant 4.0
  %p = rl.constant 1.0
  %k = rl.constant 0.0
  %o = rl.sample @actor from [@sums] groups(%0) group_size(%0) temperature(%0) max_new_tokens(%0) top_p(%p) top_k(%k) max_groups = 4 max_group_size = 4 max_token_count = 4 : !rl.outputs<"o">
  %l = rl.logprob @actor, %o : !rl.outputs<"o"> -> !rl.num<token of "o">
  %m = rl.reduce mean %l over rollout : !rl.num<token of "o"> -> !rl.num<one>
  rl.metric "logp", %m
}
