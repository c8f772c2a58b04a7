"""One file a stage: get_config(arg) and sweep_*(); installed as emogene_jax.configs."""
