/* npz_layout.c - see npz_layout.h. SPDX-License-Identifier: Apache-2.0 */
#include "npz_layout.h"

const dg_structure npz_channel[NPZ_CHANNELS_V24] = {
    {"PTV70", "PTV_7000", "", DG_ROLE_TARGET, 70},
    {"PTV56", "PTV_5600", "", DG_ROLE_TARGET, 56},
    {"Prostate", "Prostate", "", DG_ROLE_TARGET, 0},
    {"Rectum", "Rectum", "", DG_ROLE_OAR, 0},
    {"Bladder", "Bladder", "", DG_ROLE_OAR, 0},
    {"Femur_L", "Femur_Head_L", "Femur_R", DG_ROLE_OAR, 0},
    {"Femur_R", "Femur_Head_R", "Femur_L", DG_ROLE_OAR, 0},
    {"Bowel", "Bowel", "", DG_ROLE_OAR, 0},
    {"PTV50.4", "PTV_5040", "", DG_ROLE_TARGET, 50.4},
};

const int npz_axis[3] = {2, 0, 1};
