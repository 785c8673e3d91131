# siamese_rpn_r50_20e_lasot.py with a backbone that no epoch trains: its features are what is compared.
# Protocol: siamrpn-lasot-frozen, this project's own: mmcv's plain optimizer hook in place of the one that
# thaws.
_base_ = "siamese_rpn_r50_20e_lasot.py"
model = dict(backbone=dict(unfreeze_backbone=False))
optimizer_config = dict(_delete_=True, type="OptimizerHook", grad_clip=dict(max_norm=10.0, norm_type=2))
