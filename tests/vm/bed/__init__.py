"""The RDMA test bed: guest kernels with soft-RoCE, and the running of commands in them."""
