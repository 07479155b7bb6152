"""Metadata of the package; the build system and the tools are set in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION: dict[str, str] = {}
exec((ROOT / "lssl_augment" / "_version.py").read_text(encoding="utf-8"), VERSION)

setup(
    name="lssl_augment",
    version=VERSION["__version__"],
    description="Expression synthesis as data augmentation: same person, another expression",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords=["facial expression recognition", "data augmentation", "generative model", "pytorch"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
    python_requires=">=3.11",
    packages=find_packages(include=["lssl_augment", "lssl_augment.*"]),
    package_data={
        "lssl_augment": ["py.typed", "weights/*.safetensors", "weights/*.json", "faces/template68.json"],
        "lssl_augment.evaluation": ["protocols/*.yaml"],
    },
    zip_safe=False,
    install_requires=[
        "torch>=2.11",
        "torchvision>=0.26",
        "kornia>=0.8.2",
        "numpy>=1.26",
        "scipy>=1.11",
        "scikit-learn>=1.4",
        "scikit-image>=0.22",
        "pandas>=2.2",
        "pillow>=10.3",
        "h5py>=3.11",
        "safetensors>=0.5",
        "click>=8.2",
        "pyyaml>=6.0",
        "tqdm>=4.66",
        "tensorboard>=2.16",
        "insightface>=1.0",
        # The distribution of cv2 that insightface asks for: two of them in one environment clash.
        "opencv-python>=4.9",
    ],
    extras_require={
        "test": ["pytest>=8.2", "hypothesis>=6.100", "ruff>=0.14", "mypy>=1.18"],
    },
    entry_points={"console_scripts": ["lssl-augment = lssl_augment.cli.main:main"]},
)
