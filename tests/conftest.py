"""One thread: the tests' tensors are too small to share, and a second core may be busy."""

import torch

torch.set_num_threads(1)
