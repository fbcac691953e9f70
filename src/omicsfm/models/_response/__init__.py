"""Parts of the response model: rows and kernels, the Gaussian process, simple answers, their blend, its errors."""
