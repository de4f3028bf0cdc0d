from CSpineFractureLib.volume.canonical import CanonicalView as CanonicalView
