train_gpt.o: train_gpt.cu dataloader/loader.h dataloader/account.h \
 dataloader/batch.h dataloader/ledger.h dataloader/plan.h \
 dataloader/validation.h eval/evaluator.cuh eval/deal.cuh \
 kernels/backend.h kernels/operations.h kernels/types.h kernels/device.h \
 util/check.h kernels/communicator.h util/peers.h kernels/machine.h \
 util/stop.h eval/evaluation.h eval/question_task.h eval/majority.h \
 eval/questions.h dataloader/token_file.h dataloader/sidecar.h \
 util/mapped_file.h eval/question_names.h util/npy.h eval/report.h \
 eval/bootstrap.h eval/choices.h eval/statistics.h eval/thresholds.h \
 util/options.h eval/trainer_choices.h util/tokenizer.h eval/exposures.h \
 eval/generate.cuh eval/packed_pass.cuh model/gpt.cuh kernels/nvtx.h \
 model/activations.h model/config.h model/tensors.h eval/packing.h \
 eval/results.h eval/scorer.cuh eval/validation.cuh eval/stop_rule.h \
 model/checkpoint.h model/init.h util/rng.h model/state.cuh \
 train/agreement.h train/device_batch.cuh train/evaluation_data.h \
 train/lanes.cuh train/log.h train/run_directory.h util/files.h \
 train/tensorboard.h util/json_text.h util/progress.h train/memory.cuh \
 train/options.cuh train/schedule.h train/setup.cuh \
 dataloader/placement.h util/numbers.h util/sha256.h train/when.h \
 util/build_info.h util/system.h
dataloader/loader.h:
dataloader/account.h:
dataloader/batch.h:
dataloader/ledger.h:
dataloader/plan.h:
dataloader/validation.h:
eval/evaluator.cuh:
eval/deal.cuh:
kernels/backend.h:
kernels/operations.h:
kernels/types.h:
kernels/device.h:
util/check.h:
kernels/communicator.h:
util/peers.h:
kernels/machine.h:
util/stop.h:
eval/evaluation.h:
eval/question_task.h:
eval/majority.h:
eval/questions.h:
dataloader/token_file.h:
dataloader/sidecar.h:
util/mapped_file.h:
eval/question_names.h:
util/npy.h:
eval/report.h:
eval/bootstrap.h:
eval/choices.h:
eval/statistics.h:
eval/thresholds.h:
util/options.h:
eval/trainer_choices.h:
util/tokenizer.h:
eval/exposures.h:
eval/generate.cuh:
eval/packed_pass.cuh:
model/gpt.cuh:
kernels/nvtx.h:
model/activations.h:
model/config.h:
model/tensors.h:
eval/packing.h:
eval/results.h:
eval/scorer.cuh:
eval/validation.cuh:
eval/stop_rule.h:
model/checkpoint.h:
model/init.h:
util/rng.h:
model/state.cuh:
train/agreement.h:
train/device_batch.cuh:
train/evaluation_data.h:
train/lanes.cuh:
train/log.h:
train/run_directory.h:
util/files.h:
train/tensorboard.h:
util/json_text.h:
util/progress.h:
train/memory.cuh:
train/options.cuh:
train/schedule.h:
train/setup.cuh:
dataloader/placement.h:
util/numbers.h:
util/sha256.h:
train/when.h:
util/build_info.h:
util/system.h:
