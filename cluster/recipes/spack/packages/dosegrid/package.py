# Spack recipe:  spack repo add cluster/recipes/spack; spack dev-build dosegrid@main   (in the source folder)
# SPDX-License-Identifier: Apache-2.0
from spack.package import *


class Dosegrid(CMakePackage, CudaPackage):
    """Trains and evaluates 3-D networks that predict radiotherapy dose, over MPI ranks and GPUs."""

    license("Apache-2.0")
    version("main")

    variant("onednn", default=True, description="the CPU backend; without it only the reference backend computes")

    depends_on("c", type="build")
    depends_on("cxx", type="build")
    depends_on("cmake@3.25:", type="build")
    depends_on("ninja", type="build")
    depends_on("pkgconfig", type="build")
    depends_on("mpi@3:")
    depends_on("hdf5@1.10.8:+mpi+hl~cxx")
    depends_on("onednn@3: cpu_runtime=omp", when="+onednn")
    depends_on("libyaml")
    depends_on("jansson")
    depends_on("openssl")
    depends_on("hwloc")
    depends_on("lz4")
    depends_on("zlib-api")
    depends_on("dcmtk")
    depends_on("gnuplot", type="run")
    depends_on("cuda@12.8:", when="+cuda")
    depends_on("cudnn@9:", when="+cuda")
    depends_on("nccl", when="+cuda")

    generator("ninja")

    def cmake_args(self):
        args = [
            self.define_from_variant("DG_WITH_ONEDNN", "onednn"),
            self.define("DG_WITH_CUDA", "ON" if self.spec.satisfies("+cuda") else "OFF"),
        ]
        if self.spec.satisfies("+onednn"):
            args.append(self.define("DG_ONEDNN_ROOT", self.spec["onednn"].prefix))
        if self.spec.satisfies("+cuda") and "none" not in self.spec.variants["cuda_arch"].value:
            args.append(self.define("DG_CUDA_ARCHS", ";".join(self.spec.variants["cuda_arch"].value)))
        return args
