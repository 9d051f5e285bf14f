#!/usr/bin/env bash
# From nothing to the weights of `mini`: heads, four networks and one to compare by, last stages, and the report.
#
#   configs/mini/train.sh ASSETS [FOLDER]
#
# ASSETS is MakeHuman's or MPFB's data folder, or a pack of it. Everything is made in FOLDER (`mini` if not given),
# which ends with the model in FOLDER/model and its report in FOLDER/report. After a kill the same command goes on:
# heads, checkpoints and finished stages are kept, and a stage goes on at its place in its minutes. From the
# environment: HEADS to train on (600), held-out PEOPLE to measure on (20), and TIME, a factor on the minutes of all
# stages, which are 8.3 hours beside about one and a half for the heads.
set -euo pipefail

[ $# -ge 1 ] || { echo "usage: configs/mini/train.sh ASSETS [FOLDER]" >&2; exit 2; }
[ -e "$1" ] || { echo "There is nothing at $1: give MakeHuman's data folder, or a pack of it." >&2; exit 2; }
assets=$(realpath "$1")
configs=$(realpath "$(dirname "$0")")
heads=${HEADS:-600} people=${PEOPLE:-20} time=${TIME:-1}
mkdir -p "${2:-mini}"
cd "${2:-mini}"

draw() { # SET HEADS SEED RIG TRUTH [VIEWS]
  facelift synth "data/$1" --assets "$assets" --heads "$2" --seed "$3" --rig "$4" --truth "$5" --views "${6:-1}"
}

stage() { # STAGE NAME MINUTES: train by configs/mini/NAME.yaml, once
  [ ! -e "runs/mini/$2/done" ] || return 0
  facelift train "$1" "$configs/$2.yaml" --out "runs/mini/$2" \
    --max-minutes "$(awk "BEGIN { print $time * $3 }")"
  touch "runs/mini/$2/done"
}

draw train "$heads" 1000 all depth 8
draw faces "$heads" 1000 canonical all # with parts and landmarks
draw mean "$((heads < 100 ? heads : 100))" 1000 all depth 12 # for the baselines, from the cameras of the test set
draw test "$people" 0 all depth 12
draw validation 8 900 all all 8 # held out as well: what the trainings are measured on as they go

stage portrait portrait 120
stage features features 15 # for the reconstructor's perceptual loss
stage autoencoder autoencoder 40
stage reconstructor reconstructor 90
stage views views 90
stage views views_adversarial 45
stage decoder decoder 80
stage reconstructor reconstructor_generated 20

mkdir -p model
cp -r runs/mini/decoder/views runs/mini/reconstructor_generated/reconstructor runs/mini/portrait/portrait model
facelift evaluate data/test --train data/mean --model model --out report
