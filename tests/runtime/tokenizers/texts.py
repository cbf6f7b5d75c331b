"""Texts that tokenizers disagree about, the same ones for the same seed."""
import random

HAND = [
    "", " ", "  ", "\n", "\r\n", "\t", "\x00", "a", "é", "e\u0301", "中", "👍", "\ufffd", "\ufeff", "\u180e",
    "Hello world", " Hello  world ", "Let's think: 12 + 345 = 357, isn't it? I'LL say WE'VE done; 'S 'ſ",
    "  two  spaces \n\n and\tlines \r\n end  ", "\r\r\n\n\r x\r\ny\rz", "trailing space \n", "\n\n\n  indented\n\t\tmore",
    "123456789 1,234.56 ½ ² Ⅷ ٣٤٥ 一二三 १२३ 3.14e-10 0x1F", "don't DON'T Don’t 'tis '90s ''s",
    "for (int i = 0; i < n; ++i) {\n\tsum += a[i] * b[i];  // naïve\n}\n",
    "def f(x):\n    return {k: v for k, v in x.items() if v != ''}\n\n\n\nprint(f({}))\r\n",
    "<html>\n  <body class=\"a-b\">&nbsp;</body>\n</html>", "https://example.org/a_b?c=d%20e#f",
    "Το γρήγορο καφέ αλεπού", "Съешь ещё этих мягких французских булок, да выпей чаю.", "我们先计算结果。然后，答案是４２！",
    "日本語のテキスト、カタカナとひらがな。", "한국어 문장입니다.", "مرحبا بالعالم، كيف حالك؟", "שלום עולם", "नमस्ते दुनिया",
    "Tiếng Việt có dấu", "ไทยไม่มีช่องว่าง", "čšž ÄÖÜ ß ﬁ ﬀ Ǆ İ ı", "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇩🇪 ☃️ 𝔘𝔫𝔦", "a\u00a0b\u2003c\u200bd\u2028e\u2029f\u0085g\u3000h\u180ei",
    "\u1100\u1161\u11a8 \u212b \u1e9b\u0323 \u0344 \u0958 \u2126", "o\u0302\u0323 q\u0307\u0323", "\x01\x02\x03\x04\x1b[0m\x7f\x80\x9f",
    "x" * 3000, "ab" * 2500, " " * 2000, "\n" * 999, "!" * 777, "supercalifragilistic" * 200, "é" * 1500, "9" * 1000, " \n" * 500,
]
SPECIAL = ["<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n", "x<|im_end|>y<|endoftext|>", " <|im_end|> ", "<|im_end", "<|im_start|><|im_start|>",
           "a <tool> b<tool>c  <tool>\n", "<tool2> <too", "<left>   <left> x  <left>\u3000<left>", "  <right>  y<right>\n\nz<right>",
           "word sword word's word_ word1 (word) éword word", "café cafe\u0301 caf\u00e9\u0301", "<both> <both>\t<both>", " <left><right> <left> ", "a<right> <left>b",
           "an unmergeable word, unmergeable"]
WORDS = HAND[14:40] + ["the", "and", "naïve", "0", "7", "42", "=", "==", "->", "::", "\\n", "\\frac{1}{2}", "$x^2$", "_", "__init__", "'s", "'re", "“", "”", "…",
                       "—", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", "\u00a0", "\u3000", "e\u0301", "\u0301", "\u200d", "\x00", "\x07", "\x1f", "🙂", "🤖"]


def random_text(random, specials):
    kind = random.random()
    if kind < 0.5:  # words side by side, with or without a space
        return "".join(random.choice(WORDS + specials) + random.choice(["", "", " ", "  ", "\n"])
                       for _ in range(random.randrange(1, 30)))
    ranges = [(0x20, 0x7f), (0x00, 0x20), (0xa0, 0x250), (0x300, 0x370), (0x370, 0x530), (0x590, 0x700), (0x900, 0xe00),
              (0x1100, 0x1200), (0x1e00, 0x2070), (0x2070, 0x2c00), (0x3000, 0x3100), (0x4e00, 0x9fff), (0xac00, 0xd7a4),
              (0xf900, 0xfb50), (0xfe00, 0xff60), (0x1f300, 0x1f650)]
    chosen = random.sample(ranges, random.randrange(1, 5))
    return "".join(chr(random.randrange(*random.choice(chosen))) for _ in range(random.randrange(1, 60)))


def every_character():
    """In runs of 64, behind a letter with a mark that characters of a lower class move before."""
    points = [point for point in range(0x20000) if not 0xd800 <= point < 0xe000 and chr(point).isprintable()]
    return ["".join("q\u0345" + chr(point) for point in points[i:i + 64]) for i in range(0, len(points), 64)]


def texts(seed, count):
    source = random.Random(seed)
    drawn = [random_text(source, SPECIAL) for _ in range(count)]
    return HAND + SPECIAL + drawn


def corpus(seed):
    """To train a vocabulary on: the same kinds of text, other ones."""
    source = random.Random(seed)
    return [text for text in HAND if len(text) < 200] * 3 + [random_text(source, []) for _ in range(1500)]
