/* What a kernel in C is told of a convolution; see docs/kernels.md. ABI 1.
 *
 * x (n, c_in, height, width), w (c_out, per_group, k_h, k_w), y and its gradient
 * (n, c_out, out_h, out_w). Patch i of y has rows [i r_h, (i + 1) r_h), cut to [0, out_h); patch i
 * of x has rows [in_start_h + i in_length_h, in_start_h + (i + 1) in_length_h), cut to
 * [0, in_stop_h); there are grid_h of each. Columns likewise.
 *
 * save:       x_sum (n, c_in, grid_h, grid_w) = sums of x over its patches,
 *             w_sum (c_out, per_group) = sums of w over its window; NULL if the window is kept.
 * gradients:  g~ = the mean of grad over each patch of y (of the pixels that it has). g_x is
 *             w_sum^T g~ / (stride_h stride_w) on every pixel of the patch of x, and zero on pixels
 *             in no patch; g_w is the sum of g~ x_sum / (stride_h stride_w) over images and
 *             patches, on every tap; g_b is the sum of grad.
 *             If keeps_window, w_sum is w itself, applied on the grid with dilation
 *             dilation / r, and g_w is tap by tap.
 * threads is how many a kernel may use. Return nonzero for a geometry that is not done. */
#ifndef GFBENCH_H
#define GFBENCH_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    int64_t n, c_in, height, width, c_out, per_group,
        k_h, k_w, stride_h, stride_w, pad_top, pad_bottom,
        pad_left, pad_right, dilation_h, dilation_w, groups, r_h,
        r_w, out_h, out_w, grid_h, grid_w, in_start_h,
        in_length_h, in_stop_h, in_start_w, in_length_w, in_stop_w, keeps_window, threads;
} gfbench_t;

int gfbench_save(const gfbench_t *g, const REAL *x, const REAL *w, REAL *x_sum, REAL *w_sum);
int gfbench_gradients(const gfbench_t *g, const REAL *grad, const REAL *x_sum, const REAL *w_sum,
                      REAL *grad_x, REAL *grad_w, REAL *grad_b);

#endif
