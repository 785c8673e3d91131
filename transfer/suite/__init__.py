"""Plan and run a grid of backbones, tasks and seeds."""
