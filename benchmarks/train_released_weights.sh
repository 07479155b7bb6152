#!/usr/bin/env bash
# Makes every weights file of the package again from the two public data sets, and measures the generators.
#   benchmarks/train_released_weights.sh LFW_EXPRESSIONS FER2013 OUT_FOLDER
# The data sets are zip archives or unpacked folders. What is finished is kept: after a stop give the same command again.
# STEPS_OVER=N makes an Nth of the steps everywhere, for a try of the whole way (tests/test_recipe.py).
set -euo pipefail
lfw=$1 fer=$2 out=$3
over=${STEPS_OVER:-1}
mkdir -p "$out"

steps() { echo $(($1 / over > 0 ? $1 / over : 1)); }

# make FILE COMMAND...: unless FILE is there.
make() {
    [[ -e $1 ]] && return
    printf '\n== %s\n' "$(basename "$1")"
    "${@:2}"
}

# generator NAME OPTIONS...: NAME.safetensors and its card. A run that was stopped after a checkpoint goes on from there.
generator() {
    local name=$1 run
    shift
    [[ -e $out/$name.json ]] && return
    printf '\n== %s\n' "$name"
    mkdir -p "$out/runs/$name"
    run=$(find "$out/runs/$name" -mindepth 1 -maxdepth 1 -type d | sort | tail -n 1)
    if [[ -n $run && -e $run/weights/compact-128.json ]]; then
        : # finished, and stopped before it was copied
    elif [[ -n $run && -n $(find "$run/checkpoints" -name 'step-*' -print -quit 2>/dev/null) ]]; then
        lssl-augment train --resume "$run"
    else
        lssl-augment train "$@" --seed 0 --out "$out/runs/$name" --set attributes=expression,signed-pose:30
        run=$(find "$out/runs/$name" -mindepth 1 -maxdepth 1 -type d | sort | tail -n 1)
    fi
    cp "$run/weights/compact-128.safetensors" "$out/$name.safetensors"
    cp "$run/weights/compact-128.json" "$out/$name.json"
}

make "$out/lfw.h5" lssl-augment prepare lfw-expressions --root "$lfw" --out "$out/lfw.h5"
make "$out/fer2013.h5" \
    lssl-augment prepare fer2013 --root "$fer" --out "$out/fer2013.h5" --landmarks precomputed --fill-dense

# The landmark network reads the photographs themselves. About an hour on one core.
if [[ -d $lfw ]]; then
    photos=$lfw
else
    photos=$out/lfw-expressions
    if [[ ! -e $photos ]]; then
        rm -rf "$photos.part" && mkdir "$photos.part"
        python -m zipfile -e "$lfw" "$photos.part"
        mv "$photos.part" "$photos" # whole or not there
    fi
fi
make "$out/landmarks.safetensors" \
    lssl-augment train-landmarks --root "$photos" --steps "$(steps 14000)" --seed 0 --out "$out/landmarks.safetensors"

make "$out/parser.safetensors" \
    lssl-augment train-parser --pack "$out/lfw.h5" --steps "$(steps 8000)" --seed 0 --out "$out/parser.safetensors"

make "$out/faces.safetensors" lssl-augment train-sources "$out/lfw.h5" --out "$out/faces.safetensors"
make "$out/gate.safetensors" lssl-augment train-gate "$out/lfw.h5" --further "$out/fer2013.h5" \
    --steps "$(steps 1800)" --batch-size 96 --seed 0 --out "$out/gate.safetensors"

# Measures identity in `evaluate`; no part of training or filtering.
make "$out/recogniser.safetensors" lssl-augment train-recogniser "$out/lfw.h5" \
    --steps "$(steps 1800)" --batch-size 96 --seed 0 --out "$out/recogniser.safetensors"

# 39 minutes on one core (x86-64, AVX-512, float32, shared with other work); its log in small form is
# benchmarks/results/training/lfw-128.
generator lfw-128 "$out/lfw.h5" --preset compact --steps "$(steps 900)" --batch 12 \
    --set classes=neutral,happiness,surprise,anger,sadness --set ema_decay=0.998 \
    --set objective.critic_first_steps="$(steps 200)"

# Seven expressions: the network of lfw-128, statistics of both data sets; fear and disgust come from FER2013.
seven=neutral,happiness,surprise,anger,sadness,fear,disgust
generator lfw-fer-128 "$out/lfw.h5" --further "$out/fer2013.h5" --init "$out/lfw-128.safetensors" --steps 1 \
    --set classes=$seven

# Seven expressions of small grey faces, from FER2013 alone: 13 minutes on one core once its statistics are fitted; its
# log in small form is benchmarks/results/training/fer-128.
generator fer-128 "$out/fer2013.h5" --preset compact --steps "$(steps 380)" --batch 12 \
    --set classes=$seven --set ema_decay=0.99 --set objective.critic_first_steps="$(steps 60)"

# The tables of docs/results.md and of the cards.
parts=(--ablate network --ablate shading --ablate mouth --ablate donors)
judged=(--judges 2 --judge-steps "$(steps 500)" --split public_test --ablate network)
make "$out/evaluate_lfw-128.json" \
    lssl-augment evaluate "$out/lfw-128.safetensors" "$out/lfw.h5" \
    --judges 2 --judge-steps "$(steps 400)" "${parts[@]}" --out "$out/evaluate_lfw-128.json"
for name in fer-128 lfw-fer-128; do
    make "$out/evaluate_$name.json" lssl-augment evaluate "$out/$name.safetensors" "$out/fer2013.h5" "${judged[@]}" \
        --out "$out/evaluate_$name.json"
done
