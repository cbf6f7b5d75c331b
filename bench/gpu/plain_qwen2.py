"""Qwen2 with nothing around it, for peers.py: what torch.compile is given."""


def Model(torch, config, length):
    """The module; its call takes ids and the tokens after them (sequences x length) and gives the mean negative
    log-likelihood. Random weights, on the current device."""
    nn, f = torch.nn, torch.nn.functional
    hidden, inner, vocabulary = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    heads, kv, eps = config["num_attention_heads"], config["num_key_value_heads"], config["rms_norm_eps"]
    width = hidden // heads

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.before, self.between = nn.RMSNorm(hidden, eps), nn.RMSNorm(hidden, eps)
            self.qkv = nn.Linear(hidden, (heads + 2 * kv) * width)
            self.o = nn.Linear(hidden, hidden, bias=False)
            self.up, self.down = nn.Linear(hidden, 2 * inner, bias=False), nn.Linear(inner, hidden, bias=False)

        def forward(self, x, cos, sin):
            def turn(t):
                a, b = t.chunk(2, -1)
                return (t * cos + torch.cat((-b, a), -1) * sin).to(t.dtype)

            b, s, _ = x.shape
            q, k, v = self.qkv(self.before(x)).split((heads * width, kv * width, kv * width), -1)
            q, k, v = (t.view(b, s, -1, width).transpose(1, 2) for t in (q, k, v))
            y = f.scaled_dot_product_attention(turn(q), turn(k), v, is_causal=True, enable_gqa=True)
            x = x + self.o(y.transpose(1, 2).reshape(b, s, hidden))
            gate, up = self.up(self.between(x)).chunk(2, -1)
            return x + self.down(f.silu(gate) * up)

    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(vocabulary, hidden)
            self.layers = nn.ModuleList(Layer() for _ in range(config["num_hidden_layers"]))
            self.norm = nn.RMSNorm(hidden, eps)
            turns = config["rope_theta"] ** (-torch.arange(0, width, 2) / width)
            angles = torch.outer(torch.arange(length).float(), turns).repeat(1, 2)
            self.register_buffer("cos", angles.cos())
            self.register_buffer("sin", angles.sin())
            for module in self.modules():
                if isinstance(module, (nn.Linear, nn.Embedding)):
                    nn.init.normal_(module.weight, std=0.02)

        def forward(self, ids, following):
            x = self.table(ids)
            for layer in self.layers:
                x = layer(x, self.cos, self.sin)
            logits = f.linear(self.norm(x), self.table.weight)
            return f.cross_entropy(logits.float().flatten(0, 1), following.flatten())

    return Whole()
