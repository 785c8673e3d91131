# What mmtrack's recipes share. `gpus` is how many GPUs the published learning rates are for; the task divides
# `samples_per_gpu * gpus` by the processes that it runs in, so that a step sees the published batch.
gpus = 8
optimizer = dict(type="SGD", lr=0.02, momentum=0.9, weight_decay=0.0001)
optimizer_config = dict(grad_clip=None)
checkpoint_config = dict(interval=1)
log_config = dict(interval=50, hooks=[dict(type="TextLoggerHook")])
log_level = "INFO"
load_from = None
resume_from = None
workflow = [("train", 1)]
