"""Who the person is, and the HU of each tissue.

Sources of HU: Bushberg et al., The Essential Physics of Medical Imaging, 3rd ed. 2011 (air, lung, fat, muscle, blood);
Kamalian et al., Handb Clin Neurol 2016;135:3-20 (brain, cerebrospinal fluid); Imanishi et al., J Comput Assist Tomogr
1991;15:287-290 and Joseph et al., Rofo 1986;144:417-421 (thyroid gland: bright for its iodine); Dadfar et al., J Comput
Assist Tomogr 2015;39:240-243 (cartilage that is not ossified is denser than muscle); Emadi et al., Iran Endod J 2014
(dentine, enamel, amalgam); Schreiber et al., JBJS 2011;93:1057-1063 (trabecular bone by age). Ranges of the other
tissues (glands, cord, disc, plaques, calcified cartilage, petrous bone) are this project's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TISSUE_HU: dict[str, tuple[float, float]] = {
    "air": (-1024, -950),
    "lung": (-870, -740),
    "fat": (-125, -75),
    "skin": (10, 70),
    "muscle": (40, 70),
    "gland": (0, 60),
    "thyroid": (75, 125),
    "csf": (0, 15),
    "cord": (30, 45),
    "brain": (22, 42),
    "disc": (70, 115),
    "cartilage": (60, 120),
    "calcified cartilage": (200, 600),
    "blood": (35, 60),
    "contrast": (150, 400),
    "plaque": (300, 1000),
    "trabecular": (100, 600),
    "cortical": (700, 1500),
    "petrous": (1100, 1900),
    "dentine": (1200, 1800),
    "enamel": (2300, 3000),
    "metal": (3000, 3500),
}


@dataclass
class Person:
    """What differs from one person to the next besides the spine.

    ``fat_mm``: subcutaneous fat at the nape; ``bulk``: thickness of the muscles (1 = mean); ``vessel_hu``: blood or
    contrast; ``calcium``: 0-1, how much cartilage and arteries are calcified; ``wear``: 0-1, fat between muscles.
    """

    age: float
    size: float
    male: bool
    fat_mm: float
    bulk: float
    muscle_hu: float
    fat_hu: float
    cortical_hu: float
    trabecular_hu: float
    artery_hu: float
    vein_hu: float
    csf_hu: float
    cord_hu: float
    brain_hu: float
    disc_hu: float
    calcium: float
    wear: float
    uneven: float

    @classmethod
    def sample(cls, rng: np.random.Generator, age: float, size: float) -> Person:
        """By age and size; three of ten studies have contrast in the vessels."""
        contrast = rng.random() < 0.3
        blood = rng.uniform(38, 56)
        artery = rng.uniform(170, 380) if contrast else blood
        older = float(np.clip((age - 25) / 60, 0, 1))
        male = bool(rng.random() < np.clip(0.5 + 4 * (size - 1), 0.05, 0.95))
        return cls(
            age=age,
            size=size,
            male=male,
            fat_mm=float(np.clip(2.0 + rng.gamma(2.0, 3.0), 2.5, 22)),
            bulk=float(np.clip(rng.normal(1.04 if male else 0.94, 0.07), 0.8, 1.2)),
            muscle_hu=float(np.clip(rng.normal(59 - 6 * older, 3), 47, 65)),
            fat_hu=float(rng.normal(-103, 4)),
            cortical_hu=float(np.clip(rng.normal(1250 - 250 * older, 110), 800, 1450)),
            trabecular_hu=float(np.clip(rng.normal(420 - 190 * older, 60), 140, 560)),
            artery_hu=float(artery),
            vein_hu=float(blood if not contrast or rng.random() < 0.25 else rng.uniform(0.45, 0.9) * artery),
            csf_hu=float(np.clip(rng.normal(7, 2), 2, 13)),
            cord_hu=float(np.clip(rng.normal(38, 2), 32, 43)),
            brain_hu=float(np.clip(rng.normal(34 - 2 * older, 1.5), 28, 38)),
            disc_hu=float(np.clip(rng.normal(88, 5), 76, 98)),
            calcium=float(np.clip(older * rng.uniform(0.3, 1.3), 0, 1)),
            wear=float(np.clip(older * rng.uniform(0.2, 1.2), 0, 1)),
            uneven=float(rng.normal(0, 0.025)),
        )
