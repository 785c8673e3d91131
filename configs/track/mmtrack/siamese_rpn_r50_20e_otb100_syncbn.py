# siamese_rpn_r50_20e_otb100.py with a backbone that trains in every layer from the first epoch, its batch
# norms with the statistics of the whole batch, as self-supervised backbones are fine-tuned in detection.
# Protocol: siamrpn-otb-syncbn, this project's own. The backbone's learning rate stays a tenth.
_base_ = "siamese_rpn_r50_20e_otb100.py"
model = dict(
    backbone=dict(frozen_stages=-1, norm_eval=False, norm_cfg=dict(type="SyncBN", requires_grad=True))
)
optimizer_config = dict(_delete_=True, type="OptimizerHook", grad_clip=dict(max_norm=10.0, norm_type=2))
