"""MedDet: detection of cervical disc herniation on sagittal T2 MRI. Research use only."""
