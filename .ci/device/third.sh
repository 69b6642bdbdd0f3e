# On the device machine: random weights in the shape of SmolLM3 3B, trained in 4 bits, for its speed.
set -x; date +%T; export PYTHONPATH=/tmp/site:$PWD LLM_TOOLKIT_PATH=$PWD PYTHONUNBUFFERED=1
python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target /tmp/site .bnb/*.whl
python3 - <<'X'
import torch
from transformers import SmolLM3Config, SmolLM3ForCausalLM, AutoTokenizer
import glob,os
c=SmolLM3Config(dtype='bfloat16')
with torch.device('cuda'):
    torch.set_default_dtype(torch.bfloat16); m=SmolLM3ForCausalLM(c)
print(sum(p.numel() for p in m.parameters())/1e9,'B')
m.save_pretrained('/tmp/smol3')
import yaml
from llmkit.model import load_tokenizer
from llmkit.config_model import ModelConfig
from llmkit.stage_errors import validated
load_tokenizer(validated(ModelConfig, yaml.safe_load(open('conf/model/smollm2_135m.yaml')))).save_pretrained('/tmp/smol3')
X
date +%T
timeout 120 python3 -m llmkit.train experiment=gpu_smollm3_3b model.id=/tmp/smol3 data.train=/tmp/d/training/augmented_dataset.jsonl data.eval=.held/held.jsonl data.eval_limit=50 data.limit=3000 data.workers=8 max_time=40s output_dir=/tmp/t/three log_every=2 "$@" 2>&1 | tail -n 30
cat /tmp/t/three/metrics.jsonl; nvidia-smi | grep MiB; date +%T; python3 -m pytest -q -p no:cacheprovider tests/test_model.py -k "gpu or quantized or nf4" 2>&1 | tail -n 5
