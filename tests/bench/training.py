"""Steps of training against PyTorch on the same models, taking turns in one run.

    cargo build --release --workspace --examples
    python3 tests/bench/training.py --steps target/release/examples/steps [--rounds 12] [--threads 2]

One pre-training step (encoder 192x8x3 on the 16 of 64 patches that are seen, decoder 128x4x4, 128 px) and one step of a DPT depth head
(16 channels, on given features), batches of 32, forward, backward, clipping and AdamW. PyTorch runs the same layers eagerly with its
fused attention; both count their parameters, which must be equal. Where PyTorch is not installed, it goes into .pixio/referees (some
gigabytes, as `make referees` has it), without touching anything else.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def with_torch():
    """Starts again in an environment that has PyTorch, if this one has not."""
    try:
        import torch  # noqa: F401
    except ImportError:
        venv = ROOT / ".pixio/referees"
        if Path(sys.prefix) == venv:
            raise
        if not (venv / "bin/python").exists():
            subprocess.run(["python3.11", "-m", "venv", venv], check=True)
        subprocess.run([venv / "bin/pip", "install", "-q", "torch==2.15.0", "numpy"], check=True)
        os.execv(venv / "bin/python", [venv / "bin/python", *sys.argv])


with_torch()
import torch  # noqa: E402
import torch.nn as nn  # noqa: E402
import torch.nn.functional as F  # noqa: E402

BATCH, GRID, PATCH, CLASSES = 32, 8, 16, 8
PATCHES, SEEN, PIXELS = GRID * GRID, GRID * GRID // 4, 3 * PATCH * PATCH


class Block(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x):
        batch, tokens, dim = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*qkv).transpose(1, 2).reshape(batch, tokens, dim)
        x = x + self.proj(mixed)
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Pretraining(nn.Module):
    """Masked pixels: the encoder on what is seen, the decoder on everything, patches normalised by themselves in the loss."""

    def __init__(self, dim=192, blocks=8, heads=3, decoder=128, decoder_blocks=4, decoder_heads=4):
        super().__init__()
        self.patch, self.embed = nn.Linear(PIXELS, dim), nn.Linear(dim, decoder)
        self.classes, self.positions = (nn.Parameter(0.02 * torch.randn(1, n, dim)) for n in (CLASSES, CLASSES + PATCHES))
        self.mask = nn.Parameter(0.02 * torch.randn(1, 1, decoder))
        self.decoder_positions = nn.Parameter(0.02 * torch.randn(1, CLASSES + PATCHES, decoder))
        self.blocks = nn.Sequential(*(Block(dim, heads) for _ in range(blocks)))
        self.decoder = nn.Sequential(*(Block(decoder, decoder_heads) for _ in range(decoder_blocks)))
        self.norm, self.decoder_norm = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(decoder, eps=1e-6)
        self.predict = nn.Linear(decoder, PIXELS)

    def forward(self, patches, seen):
        index = seen[..., None]
        x = self.patch(patches.gather(1, index.expand(-1, -1, PIXELS)))
        x = x + self.positions[:, CLASSES:].expand(BATCH, -1, -1).gather(1, index.expand(-1, -1, x.shape[2]))
        x = torch.cat([(self.classes + self.positions[:, :CLASSES]).expand(BATCH, -1, -1), x], 1)
        x = self.embed(self.norm(self.blocks(x)))
        whole = self.mask.expand(BATCH, PATCHES, -1).scatter(1, index.expand(-1, -1, x.shape[2]), x[:, CLASSES:])
        x = torch.cat([x[:, :CLASSES], whole], 1) + self.decoder_positions
        painted = self.predict(self.decoder_norm(self.decoder(x))[:, CLASSES:])
        target = (patches - patches.mean(-1, keepdim=True)) / (patches.var(-1, keepdim=True) + 1e-6).sqrt()
        masked = torch.ones(BATCH, PATCHES).scatter(1, seen, 0.0)
        return (((painted - target) ** 2).mean(-1) * masked).sum() / masked.sum()


class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, x):
        return x + self.conv2(self.conv1(x.relu()).relu())


class Dpt(nn.Module):
    """The DPT trunk of the official head, on four taps of 64 patches and 8 class tokens."""

    def __init__(self, dim=192, features=16, out=(16, 32, 48, 48)):
        super().__init__()
        self.projects = nn.ModuleList(nn.Conv2d(2 * dim, channels, 1) for channels in out)
        self.resize = nn.ModuleList([nn.ConvTranspose2d(out[0], out[0], 4, 4), nn.ConvTranspose2d(out[1], out[1], 2, 2),
                                     nn.Identity(), nn.Conv2d(out[3], out[3], 3, 2, 1)])
        self.level = nn.ModuleList(nn.Conv2d(channels, features, 3, padding=1, bias=False) for channels in out)
        self.side = nn.ModuleList(Residual(features) for _ in range(3))
        self.main = nn.ModuleList(Residual(features) for _ in range(4))
        self.out = nn.ModuleList(nn.Conv2d(features, features, 1) for _ in range(4))
        self.last = nn.Sequential(nn.Conv2d(features, features, 3, padding=1), nn.ReLU(), nn.Conv2d(features, 1, 1))

    def forward(self, taps):
        levels = []
        for tap, project, resize, level in zip(taps, self.projects, self.resize, self.level):
            both = torch.cat([tap[:, CLASSES:], tap[:, :CLASSES].mean(1, keepdim=True).expand(-1, PATCHES, -1)], 2)
            levels.append(level(resize(project(both.transpose(1, 2).reshape(len(tap), -1, GRID, GRID)))))
        path = None
        for at in (3, 2, 1, 0):
            x = levels[at] if path is None else path + self.side[at](levels[at])
            x = self.main[at](x)
            size = levels[at - 1].shape[2:] if at else [2 * side for side in x.shape[2:]]
            path = self.out[at](F.interpolate(x, size, mode="bilinear", align_corners=True))
        raw = F.interpolate(self.last(path), (GRID * PATCH, GRID * PATCH), mode="bilinear", align_corners=True)
        return 3 * raw[:, 0].sigmoid()


def silog(depth, truth):
    d = truth.log() - depth.log()
    return ((d**2).mean() - 0.5 * d.mean() ** 2).sqrt()


class Torch:
    """Both models with their batches."""

    def __init__(self):
        torch.manual_seed(1)
        self.pretraining, self.depth = Pretraining(), Dpt()
        patches = torch.randn(BATCH, PATCHES, PIXELS)
        seen = torch.rand(BATCH, PATCHES).argsort(1)[:, :SEEN]
        taps, truth = [torch.randn(BATCH, CLASSES + PATCHES, 192) for _ in range(4)], 0.5 + 2 * torch.rand(BATCH, 128, 128)
        self.losses = {"pretraining": lambda: self.pretraining(patches, seen), "depth": lambda: silog(self.depth(taps), truth)}
        self.models = {"pretraining": self.pretraining, "depth": self.depth}
        self.optimisers = {name: torch.optim.AdamW(model.parameters(), 1e-3) for name, model in self.models.items()}

    def count(self, what):
        return sum(parameter.numel() for parameter in self.models[what].parameters())

    def step(self, what):
        began = time.perf_counter()
        self.optimisers[what].zero_grad()
        self.losses[what]().backward()
        nn.utils.clip_grad_norm_(self.models[what].parameters(), 3.0)
        self.optimisers[what].step()
        return 1000 * (time.perf_counter() - began)


class Ours:
    def __init__(self, program, threads):
        self.process = subprocess.Popen([program, str(threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.counts = dict(zip(("pretraining", "depth"), map(int, self.process.stdout.readline().split())))

    def step(self, what):
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline().split()[0])

    def cpu(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return 1000 * (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def torch_cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return 1000 * (usage.ru_utime + usage.ru_stime)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=Path, required=True, help="the example `steps`, built")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    ours, theirs = Ours(arguments.steps, arguments.threads), Torch()
    print(f"PyTorch {torch.__version__}, {arguments.threads} threads, {arguments.rounds} rounds after 2 of warming up")
    for what in ("pretraining", "depth"):
        if ours.counts[what] != theirs.count(what):
            sys.exit(f"{what}: {ours.counts[what]} parameters here, {theirs.count(what)} in PyTorch")
        wall, cpu = {"ours": [], "torch": []}, {"ours": [], "torch": []}
        for turn in range(arguments.rounds + 2):
            for name, side, clock in (("ours", ours, ours.cpu), ("torch", theirs, torch_cpu)):
                time.sleep(0.05)  # threads of the other side have gone to sleep
                before = clock()
                took = side.step(what)
                if turn >= 2:
                    wall[name].append(took)
                    cpu[name].append(clock() - before)
        middle = {name: statistics.median(times) for name, times in wall.items()}
        used = {name: statistics.mean(times) for name, times in cpu.items()}
        ratios = sorted(theirs / ours for ours, theirs in zip(wall["ours"], wall["torch"]))
        print(f"{what}: {ours.counts[what]} parameters; ours {middle['ours']:.1f} ms, PyTorch {middle['torch']:.1f} ms (medians); "
              f"speed {middle['torch'] / middle['ours']:.2f} of PyTorch's, rounds {ratios[0]:.2f} to {ratios[-1]:.2f}; "
              f"processor time {used['ours']:.0f} and {used['torch']:.0f} ms", flush=True)
    ours.process.stdin.close()
    ours.process.wait()


if __name__ == "__main__":
    main()
