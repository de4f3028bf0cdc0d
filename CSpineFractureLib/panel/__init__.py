"""What the module does inside 3D Slicer; the only room that may import qt and ctk."""
