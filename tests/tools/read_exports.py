#!/usr/bin/env python3
"""What pydicom and nibabel read of an export: the same dose at the same point of the patient, and the CT where it was scanned.

Usage: read_exports.py RTDOSE_32 RTDOSE_16 PREDICTION.nii.gz CT.nii.gz CT_FOLDER; exit code 1 names what differs. Points of NIfTI are
right-anterior-superior, of DICOM left-posterior-superior. SPDX-License-Identifier: Apache-2.0"""
import glob
import sys

import nibabel
import numpy as np
import pydicom

DOSE_ERROR_GY = 1e-4


def fail(text):
    print("read_exports.py: " + text)
    sys.exit(1)


def dicom_points(image, frames):
    """x, y, z (LPS) of every pixel, [frame, row, column, 3]; PS3.3 C.7.6.2.1.1 and C.8.8.3.2."""
    row, column = np.array(image.ImageOrientationPatient, float).reshape(2, 3)
    offsets = np.array(image.GridFrameOffsetVector if frames > 1 else [0], float)
    between_rows, between_columns = (float(v) for v in image.PixelSpacing)
    f, r, c = np.meshgrid(offsets, np.arange(image.Rows), np.arange(image.Columns), indexing="ij")
    return (np.array(image.ImagePositionPatient, float) + c[..., None] * between_columns * row
            + r[..., None] * between_rows * column + f[..., None] * np.cross(row, column))


def nifti_at(volume, points):
    """Values of the voxels whose centres are these points."""
    world = points * [-1, -1, 1]
    index = nibabel.affines.apply_affine(np.linalg.inv(volume.affine), world)
    whole = np.rint(index).astype(int)
    if np.abs(index - whole).max() > 1e-4:
        fail("a voxel's centre lies %g voxels beside that of the DICOM file" % np.abs(index - whole).max())
    if whole.min() < 0 or (whole >= volume.shape).any():
        fail("a point of the DICOM file lies outside the NIfTI file")
    return np.asarray(volume.dataobj, float)[whole[..., 0], whole[..., 1], whole[..., 2]]


def check_dose(path, volume, bits):
    image = pydicom.dcmread(path)
    dose = image.pixel_array * float(image.DoseGridScaling)
    if image.BitsStored != bits or image.DoseUnits != "GY" or "NOT CALCULATED" not in image.DoseComment:
        fail("the %d-bit dose does not say what it is" % bits)
    wanted = nifti_at(volume, dicom_points(image, int(image.NumberOfFrames)))
    error, allowed = np.abs(dose - wanted).max(), DOSE_ERROR_GY if bits == 32 else 1.01 * dose.max() / 131070
    print("%d bits: %s, largest dose %.3f Gy, error %.2g Gy (allowed %.2g)" % (bits, dose.shape, dose.max(), error, allowed))
    if dose.shape != volume.shape[::-1] or not dose.max() > 0 or not error <= allowed:
        fail("the %d-bit dose is another one than the NIfTI file's" % bits)


def check_ct(folder, volume):
    slices = [pydicom.dcmread(path) for path in glob.glob(folder + "/CT_*")]
    for image in slices:
        hu = image.pixel_array * float(image.RescaleSlope) + float(image.RescaleIntercept)
        if np.abs(nifti_at(volume, dicom_points(image, 1))[0] - hu).max() != 0:
            fail("a CT slice lies elsewhere in the NIfTI file")
    if len(slices) != volume.shape[2]:
        fail("%d CT slices became %d planes" % (len(slices), volume.shape[2]))
    print("CT: %d slices where they were scanned" % len(slices))


dose32, dose16, prediction, ct, ct_folder = sys.argv[1:]
check_dose(dose32, nibabel.load(prediction), 32)
check_dose(dose16, nibabel.load(prediction), 16)
check_ct(ct_folder, nibabel.load(ct))
