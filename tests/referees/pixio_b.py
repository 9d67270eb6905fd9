"""A full-size random Pixio-B, made and saved by transformers, imported and exported by `pixio`, against transformers.

Prints a table of errors; exit code 1 when one is above 1e-4.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from transformers import PixioConfig, PixioModel

parser = argparse.ArgumentParser()
parser.add_argument("--pixio-tool", required=True)
tool = parser.parse_args().pixio_tool
SIZES = [(256, 256), (384, 256), (256, 336)]
TOLERANCE = 1e-4

torch.manual_seed(0)
model = PixioModel(PixioConfig(hidden_size=768, num_hidden_layers=12, num_attention_heads=12, image_size=256)).eval()
with torch.no_grad():
    for name, parameter in model.named_parameters():
        # The default initialisation leaves biases at 0 and tokens almost equal.
        if parameter.dim() == 1 or "embeddings" in name:
            parameter.add_(0.1 * torch.randn_like(parameter))

worst = 0.0
with tempfile.TemporaryDirectory() as folder:
    saved, bundle, exported = (str(Path(folder) / name) for name in ("saved", "bundle", "onnx"))
    model.save_pretrained(saved)
    sizes = [argument for width, height in SIZES for argument in ("--size", f"{width}x{height}")]
    subprocess.run([tool, "import", saved, "--tap", "5", "--tap", "11", "--out", bundle, *sizes], check=True)
    subprocess.run([tool, "export", bundle, "--out", exported], check=True, stdout=subprocess.DEVNULL)
    print(f"{'size':>9}  {'output':24} {'max error':>10} {'largest':>9}")
    for width, height in SIZES:
        image = torch.randn(1, 3, height, width)
        with torch.no_grad():
            states = model(image, output_hidden_states=True)
            theirs = {"tokens_5": model.layernorm(states.hidden_states[6]), "tokens_11": states.last_hidden_state}
        session = onnxruntime.InferenceSession(f"{exported}/backbone_{width}x{height}.onnx")
        names = [output.name for output in session.get_outputs()]
        ours = dict(zip(names, session.run(None, {"image": image.numpy()})))
        for name, expected in theirs.items():
            expected = expected.numpy()
            error = float(np.abs(ours[name] - expected).max())
            worst = max(worst, error)
            print(f"{width}x{height:<5}  {name:24} {error:10.2e} {np.abs(expected).max():9.2f}")
print(f"worst error {worst:.2e}, allowed {TOLERANCE:.0e}")
sys.exit(worst > TOLERANCE)
