eval_knowledge.o: eval/eval_knowledge.cu eval/evaluator.cuh eval/deal.cuh \
 kernels/backend.h kernels/operations.h kernels/types.h kernels/device.h \
 util/check.h kernels/communicator.h util/peers.h kernels/machine.h \
 util/stop.h eval/evaluation.h dataloader/validation.h \
 eval/question_task.h eval/majority.h eval/questions.h \
 dataloader/token_file.h dataloader/sidecar.h util/mapped_file.h \
 eval/question_names.h util/npy.h eval/report.h eval/bootstrap.h \
 eval/choices.h eval/statistics.h eval/thresholds.h util/options.h \
 eval/trainer_choices.h util/tokenizer.h eval/exposures.h \
 dataloader/ledger.h eval/generate.cuh eval/packed_pass.cuh model/gpt.cuh \
 kernels/nvtx.h model/activations.h model/config.h model/tensors.h \
 eval/packing.h eval/results.h eval/scorer.cuh eval/validation.cuh \
 eval/normalize.h model/checkpoint.h model/state.cuh train/agreement.h \
 train/evaluation_data.h util/files.h util/progress.h util/system.h
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
dataloader/validation.h:
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
dataloader/ledger.h:
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
eval/normalize.h:
model/checkpoint.h:
model/state.cuh:
train/agreement.h:
train/evaluation_data.h:
util/files.h:
util/progress.h:
util/system.h:
