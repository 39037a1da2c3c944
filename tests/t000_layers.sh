#!/usr/bin/env bash
# ctest: label=unit timeout=60
# The layer rule (doc/design.md section 2), read from the source: no folder includes what its layer may not, vendor
# headers stay in their folder, libraries neither print nor exit, and public headers document what they declare.
# A planted violation of each kind must be found. SPDX-License-Identifier: Apache-2.0
set -u
root=${DG_TEST_SOURCE:?set DG_TEST_SOURCE to the source folder}
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT

folders="src/base src/grid src/math src/backend src/parallel src/nn src/formats mpi hdf5_io analysis cluster cuda jobs/run jobs"
src="src/base src/grid src/math src/backend src/parallel src/nn src/formats"
may_use() { # folder -> folders whose headers it may include
    case $1 in
        src/base) echo src/base src/math ;;
        src/grid) echo src/grid src/base src/math ;;
        src/math) echo src/math ;;
        src/backend) echo src/backend src/base src/math ;;
        src/parallel) echo src/parallel src/base ;;
        src/nn) echo src/nn src/base src/math src/grid src/backend src/parallel ;;
        src/formats) echo src/formats src/base src/grid ;;
        mpi) echo mpi "$src" ;;
        hdf5_io) echo hdf5_io "$src" mpi ;;
        analysis) echo analysis "$src" ;;
        cluster) echo cluster "$src" ;;
        cuda) echo cuda "$src" analysis ;;
        *) echo "$folders" ;;
    esac
}
vendor() { # header -> folders that may include it
    case $1 in
        mpi.h) echo mpi hdf5_io jobs/run jobs ;;
        hdf5.h | H5*.h | lz4.h) echo hdf5_io ;;
        hwloc.h) echo mpi jobs ;;
        oneapi/* | dnnl*.h) echo src/backend ;;
        yaml.h) echo src/base jobs/run ;;
        openssl/*) echo src/base ;;
        cuda*.h | cudnn*.h | nccl*.h) echo cuda ;;
        zlib.h | zip.h | tiffio.h | nifti*.h) echo src/formats analysis ;;
        dcmtk/*) echo src/formats ;;
        *) echo any ;;
    esac
}
files_of() { # root folder: its sources; jobs/run is a folder of its own, ref/ and onednn/ belong to src/backend
    if [ "$2" = jobs ]; then find "$1/jobs" -maxdepth 1 -name '*.[ch]'
    else find "$1/$2" -name '*.[ch]' -o -name '*.cu' -o -name '*.cc' 2>/dev/null; fi
}
holds() { case " $2 " in *" $1 "*) return 0 ;; *) return 1 ;; esac; }

includes() { # root: one line per forbidden include
    local folder file name kind owner
    declare -A home=([dg_build.h]=jobs/run [dg_commit.h]=jobs/run) # made by CMake for build_info.c
    for folder in $folders; do
        [ -d "$1/$folder" ] || continue
        while read -r file; do home[$(basename "$file")]=$folder; done < <(files_of "$1" "$folder" | grep '\.h$')
    done
    for folder in $folders; do
        [ -d "$1/$folder" ] || continue
        while IFS=: read -r file kind name; do
            if [ "$kind" = '"' ]; then
                owner=${home[$(basename "$name")]:-none}
                if [ "$owner" = none ]; then echo "$file includes $name, which no folder has"
                elif ! holds "$owner" "$(may_use "$folder")"; then echo "$file ($folder) includes $name of $owner"
                elif [[ $name == *_impl.h && $owner != "$folder" ]]; then echo "$file includes the private $name of $owner"
                fi
            else
                owner=$(vendor "$name")
                if [ "$owner" != any ] && ! holds "$folder" "$owner"; then echo "$file ($folder) includes <$name>"; fi
            fi
        done < <(files_of "$1" "$folder" | xargs -r grep -HE '^ *# *include' | sed -nE 's/^([^:]*): *# *include *(["<])([^">]*)[">].*/\1:\2:\3/p')
    done
}
prints() { # root: library code that prints, exits or aborts (dg_log.c is the log; dg_mpi_abort is what jobs call)
    local folder
    for folder in $folders; do
        [ "$folder" = jobs ] || [ ! -d "$1/$folder" ] && continue
        files_of "$1" "$folder" | grep -v -e '/dg_log\.c$' |
            xargs -r awk '/^ *\/?\*/ { next }
                /(^|[^A-Za-z0-9_])(exit|_exit|abort|printf|puts|perror)\(/ { print FILENAME ":" FNR ": " $0 }
                /printf\(stderr|printf\(stdout/ { print FILENAME ":" FNR ": " $0 }'
    done
}
undocumented() { # root: declarations in exported headers whose paragraph holds no comment; _destroy speaks for itself
    local folder
    for folder in $folders; do
        [ -d "$1/$folder" ] || continue
        find "$1/$folder" -maxdepth 1 -name '*.h' ! -name '*_impl.h' | xargs -r awk '
            function flush() { if (declares && !comment) print where; declares = comment = 0 }
            FNR == 1 { flush(); depth = 0; ends = 0 }
            /^[ \t]*$/ && !inside { flush(); next }
            { if (/\/\*/) { comment = 1; inside = 1 } if (/\*\//) inside = 0 }
            depth == 0 && /^[A-Za-z_].*[A-Za-z0-9_]\(/ && !/^typedef|^#|inline |^_Static_assert|_destroy\(/ { declares = 1; where = FILENAME ":" FNR ": " $0 }
            !inside { n = gsub(/{/, "{"); m = gsub(/}/, "}"); depth += n - m; if (/extern "C"/) depth-- }
            END { flush() }'
    done
}

fail=0
for rule in includes prints undocumented; do
    found=$($rule "$root")
    if [ -n "$found" ]; then echo "$rule:"; echo "$found"; fail=1; fi
done

# Each rule finds what is planted against it.
mkdir -p "$work"/src/base "$work"/src/grid "$work"/mpi
printf 'int dg_plant(void);\n' > "$work/src/grid/dg_plant.h"
printf '#include "dg_plant.h"\n#include <mpi.h>\nvoid f(void) { exit(1); }\n' > "$work/src/base/dg_plant.c"
[ "$(includes "$work" | wc -l)" = 2 ] || { echo "the include rule misses a planted include"; fail=1; }
[ "$(prints "$work" | wc -l)" = 1 ] || { echo "the print rule misses a planted exit"; fail=1; }
[ "$(undocumented "$work" | wc -l)" = 1 ] || { echo "the documentation rule misses a bare declaration"; fail=1; }
exit $fail
