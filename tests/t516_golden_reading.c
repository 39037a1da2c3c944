/* ctest: libs=golden_io,dg_h5,PkgConfig::HDF5 label=unit timeout=60 */
/* t516: a golden program that asks whether all was read fails by every dataset and attribute it did not read, and by none
 * that it read or listed. SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "golden_io.h"

#include <hdf5.h>
#include <stdlib.h>
#include <unistd.h>

static void put_attribute(hid_t object, const char *name, double value)
{
    const hid_t space = H5Screate(H5S_SCALAR),
                attribute = H5Acreate2(object, name, H5T_NATIVE_DOUBLE, space, H5P_DEFAULT, H5P_DEFAULT);
    DG_CHECK(attribute >= 0 && H5Awrite(attribute, H5T_NATIVE_DOUBLE, &value) >= 0);
    H5Aclose(attribute);
    H5Sclose(space);
}

static void put_dataset(hid_t group, const char *name, double value)
{
    const hid_t space = H5Screate(H5S_SCALAR),
                set = H5Dcreate2(group, name, H5T_NATIVE_DOUBLE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    DG_CHECK(set >= 0 && H5Dwrite(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, &value) >= 0);
    put_attribute(set, "noise", 0);
    put_attribute(set, "scale", 1);
    H5Dclose(set);
    H5Sclose(space);
}

/* Root attribute "rx"; group/a and group/b with "noise" and "scale", the group's "weight". */
static void write_file(const char *path)
{
    const hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT),
                group = H5Gcreate2(file, "group", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    DG_CHECK(file >= 0 && group >= 0);
    put_attribute(file, "rx", 70);
    put_attribute(group, "weight", 2);
    put_dataset(group, "a", 1);
    put_dataset(group, "b", 2);
    H5Gclose(group);
    H5Fclose(file);
}

static int unread(golden *file)
{
    static const char *const NOTES[] = {"noise", NULL};
    golden_tally tally = {0};
    golden_check_all_read(file, &tally, NOTES);
    DG_CHECK(tally.checked == tally.failed);
    return tally.failed;
}

static void read_dataset(golden *file, const char *path)
{
    golden_array array = golden_read_f64(file, "%s", path);
    golden_array_free(&array);
}

int main(void)
{
    char path[] = "/tmp/t516-XXXXXX";
    const int descriptor = mkstemp(path);
    double value;
    DG_CHECK(descriptor >= 0 && close(descriptor) == 0);
    write_file(path);
    golden *file = golden_open(path);
    DG_CHECK(unread(file) == 6); /* rx, weight, two datasets, their scales */
    DG_CHECK(golden_attr(file, "", "rx", &value) && value == 70);
    DG_CHECK(unread(file) == 5);
    read_dataset(file, "group/a");
    read_dataset(file, "group/a");
    DG_CHECK(unread(file) == 4);
    DG_CHECK(golden_attr_or(file, "group/a", "scale", 0) == 1);
    DG_CHECK(golden_attr_or(file, "group", "weight", 0) == 2);
    DG_CHECK(golden_attr_or(file, "group", "nothing", 5) == 5);
    DG_CHECK(unread(file) == 2); /* b and its scale, not a's */
    read_dataset(file, "group/b");
    DG_CHECK(golden_attr_or(file, "group/b", "scale", 0) == 1);
    DG_CHECK(unread(file) == 0);
    golden_close(&file);
    DG_CHECK(unlink(path) == 0);
    return 0;
}
