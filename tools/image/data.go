package main

import (
	"fmt"
	"path/filepath"
)

// dataFlavour adds numpy, pandas, scipy, scikit-learn, matplotlib and Pillow to pythonFlavour. The
// packages' own scripts, which never run, would choose a BLAS library. The links name the reference
// libraries instead.
var dataFlavour = flavour{
	packages: pythonFlavour.packages + `
	fonts-dejavu-core fonts-lyx python-matplotlib-data
	python3-contourpy python3-cycler python3-dateutil python3-decorator python3-distutils python3-fonttools
	python3-joblib python3-kiwisolver
	python3-matplotlib python3-numpy python3-packaging python3-pandas python3-pandas-lib python3-pil
	python3-pkg-resources python3-pyparsing
	python3-scipy python3-six python3-sklearn python3-sklearn-lib python3-threadpoolctl python3-tz
	libblas3 libbrotli1 libbsd0 libdeflate0 libfreetype6 libfribidi0 libgfortran5 libglib2.0-0 libgomp1
	libgraphite2-3 libharfbuzz0b libimagequant0
	libblkid1 libjbig0 libjpeg62-turbo liblapack3 liblbfgsb0 liblcms2-2 liblerc4 libmd0 libmount1 libopenjp2-7
	libpng16-16 libqhull-r8.0 libquadmath0 libraqm0 libtiff6
	libwebp7 libwebpdemux2 libwebpmux3 libxau6 libxcb1 libxdmcp6 libzstd1`,
	links: map[string]string{
		"usr/bin/python3":            pythonName,
		libDir() + "/libblas.so.3":   "blas/libblas.so.3",
		libDir() + "/liblapack.so.3": "lapack/liblapack.so.3",
	},
	library: "libgfortran.so.5",
	cmd:     "python3",
	finish: func(t *tree, root string) error {
		if err := compile(t, root); err != nil {
			return err
		}
		packages := "/usr/lib/python3/dist-packages"
		if err := compileInside(t, root, packages); err != nil {
			return err
		}
		if out, err := inside(root, "/usr/bin/python3", "-B", "-c", importData).CombinedOutput(); err != nil {
			return fmt.Errorf("import the data packages: %w: %s", err, tail(out))
		}
		return nil
	},
}

// importData uses each of the packages.
const importData = `
import io, os
os.environ["MPLCONFIGDIR"] = "/tmp/mpl"
os.makedirs("/tmp/mpl", exist_ok=True)
import numpy as np, pandas as pd, scipy.optimize, scipy.stats, sklearn.linear_model, sklearn.cluster, PIL.Image
import matplotlib; matplotlib.use("Agg")
import matplotlib.pyplot as plt
assert abs(np.linalg.det(np.array([[1.0, 2], [3, 4]])) + 2) < 1e-9
assert pd.DataFrame({"a": [1, 2]}).a.sum() == 3
assert abs(scipy.optimize.brentq(lambda x: x * x - 2, 0, 2) - 2 ** 0.5) < 1e-9
assert sklearn.linear_model.LinearRegression().fit([[0], [1]], [0, 2]).coef_[0] > 1.9
plt.plot([1, 2]); out = io.BytesIO(); plt.savefig(out, format="png"); out.seek(0)
assert PIL.Image.open(out).size == (640, 480)
`

// compileInside compiles the library at path in root with the image's own interpreter, and adds the
// bytecode to the tree.
func compileInside(t *tree, root, path string) error {
	cmd := inside(root, "/usr/bin/python3", "-B", "-m", "compileall", "-q", "-j1", "--invalidation-mode",
		"unchecked-hash", path)
	cmd.Env = append(cmd.Env, "PYTHONHASHSEED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compile %s: %w: %s", path, err, tail(out))
	}
	return t.takeBytecode(root, filepath.Join(root, path))
}
