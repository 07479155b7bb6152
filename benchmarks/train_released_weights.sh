#!/usr/bin/env bash
# Makes every weights file of the package again from the two public data sets, in the order they need each other.
#   benchmarks/train_released_weights.sh LFW_EXPRESSIONS_ZIP FER2013_ZIP OUT_FOLDER
set -euo pipefail
lfw=$1 fer=$2 out=$3
mkdir -p "$out"

lssl-augment prepare lfw-expressions --root "$lfw" --out "$out/lfw.h5"
lssl-augment prepare fer2013 --root "$fer" --out "$out/fer2013.h5" --landmarks precomputed --fill-dense

# The landmark network reads the photographs themselves.
mkdir -p "$out/lfw-expressions" && python -m zipfile -e "$lfw" "$out/lfw-expressions"
lssl-augment train-landmarks --root "$out/lfw-expressions" --steps 14000 --seed 0 --out "$out/landmarks.safetensors"

lssl-augment train-parser --pack "$out/lfw.h5" --steps 8000 --seed 0 --out "$out/parser.safetensors"

lssl-augment train-sources "$out/lfw.h5" --out "$out/faces.safetensors"
lssl-augment train-gate "$out/lfw.h5" --further "$out/fer2013.h5" --steps 1800 --batch-size 96 --seed 0 \
    --out "$out/gate.safetensors"

# Measures identity in `evaluate`; no part of training or filtering.
lssl-augment train-recogniser "$out/lfw.h5" --steps 1800 --batch-size 96 --seed 0 --out "$out/recogniser.safetensors"

# 39 minutes on one core (x86-64, AVX-512, float32, shared with other work); its log in small form is
# benchmarks/results/training/lfw-128.
lssl-augment train "$out/lfw.h5" --preset compact --steps 900 --batch 12 --seed 0 --out "$out/runs" \
    --set classes=neutral,happiness,surprise,anger,sadness --set ema_decay=0.998 \
    --set attributes=expression,signed-pose:30 --set objective.critic_first_steps=200
cp "$out"/runs/00000-*/weights/compact-128.safetensors "$out/lfw-128.safetensors"
cp "$out"/runs/00000-*/weights/compact-128.json "$out/lfw-128.json"

# Seven expressions: the network of lfw-128, statistics of both data sets; fear and disgust come from FER2013.
lssl-augment train "$out/lfw.h5" --further "$out/fer2013.h5" --init "$out/lfw-128.safetensors" --steps 1 --seed 0 --out "$out/runs" \
    --set classes=neutral,happiness,surprise,anger,sadness,fear,disgust --set attributes=expression,signed-pose:30

# Seven expressions of small grey faces, from FER2013 alone: 14 minutes on one core once its statistics are fitted; its
# log in small form is benchmarks/results/training/fer-128.
lssl-augment train "$out/fer2013.h5" --preset compact --steps 380 --batch 12 --seed 0 --out "$out/runs" \
    --set classes=neutral,happiness,surprise,anger,sadness,fear,disgust --set ema_decay=0.99 \
    --set attributes=expression,signed-pose:30 --set objective.critic_first_steps=60
