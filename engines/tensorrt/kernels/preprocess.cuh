// Camera pixels to the network's input on the GPU: colour, rectification, antialiased bicubic resize, crop, normalisation, planes.
//
// The arithmetic is that of the CPU path (engines/perception: image/, preprocess/, calibration/src/rectify.rs, and the whole-number
// weights of fast_image_resize), so that both give the same bits. One source, two uses: NVRTC makes kernels/preprocess.ptx of it
// (scripts/kernels.py), and with PIXIO_HOST it is plain C++, which the tests run through the engine's own launches.
#pragma once

#ifdef PIXIO_HOST
#define PIXIO_DEVICE static inline
#define PIXIO_ONE_BY_ONE
#else
#define PIXIO_DEVICE static __device__ __forceinline__
#define PIXIO_ONE_BY_ONE _Pragma("unroll 1")
#endif

typedef unsigned char PixioByte;

// How pixels lie in memory; the numbers of `Encoding` in src/frames.rs.
enum PixioEncoding
{
    PIXIO_RGB8 = 0,
    PIXIO_BGR8 = 1,
    PIXIO_MONO8 = 2,
    PIXIO_RGBA8 = 3,
    PIXIO_BGRA8 = 4,
    PIXIO_MONO16 = 5,
    PIXIO_UYVY = 6,
    PIXIO_YUYV = 7,
    PIXIO_NV12 = 8,
    PIXIO_NV21 = 9,
    PIXIO_NV24 = 10,
    PIXIO_BAYER_RGGB8 = 11,
    PIXIO_BAYER_BGGR8 = 12,
    PIXIO_BAYER_GBRG8 = 13,
    PIXIO_BAYER_GRBG8 = 14,
};

// One axis of the resize: for every output position the first input position, how many, and their weights, which are
// whole numbers over 2^precision. `taps` weights belong to each position, those beyond its count unused.
struct PixioAxis
{
    const int* spans; // first, count, first, count ...
    const short* weights;
    int taps;
    int precision;
};

// Camera rows, rectified where there is a map, each resized to the network's columns and rounded to 8 bit.
struct PixioRows
{
    const PixioByte* source;
    // Per pixel of the rectified image: column and row of the upper left of four raw pixels (column 65535: the camera saw
    // nothing), and the weights of the right and the lower ones in parts of 256; or none.
    const unsigned short* map;
    PixioByte* rows; // [row_count][columns][3], red green blue
    PixioAxis axis;
    int width;
    int height;
    int step; // bytes from row to row
    int map_width;
    int encoding;
    int first_row; // the rows that the second pass needs
    int row_count;
    int columns;
};

// Those rows, resized to the network's lines, rounded to 8 bit, normalised, as planes.
struct PixioColumns
{
    const PixioByte* rows;
    float* planes;       // [3][lines][columns]
    const float* levels; // [3][256], the normalised value of each level
    PixioAxis axis;      // spans count from first_row
    int lines;
    int columns;
};

PIXIO_DEVICE int pixio_clamp(int value, int low, int high)
{
    return value < low ? low : value > high ? high : value;
}

// BT.601 with 16 to 235 for Y, in OpenCV's whole numbers over 2^20.
PIXIO_DEVICE void pixio_yuv(int y, int u, int v, int rgb[3])
{
    const int half = 1 << 19;
    u -= 128;
    v -= 128;
    int luma = (y < 16 ? 0 : y - 16) * 1220542;
    rgb[0] = pixio_clamp((luma + half + 1673527 * v) >> 20, 0, 255);
    rgb[1] = pixio_clamp((luma + half - 852492 * v - 409993 * u) >> 20, 0, 255);
    rgb[2] = pixio_clamp((luma + half + 2116026 * u) >> 20, 0, 255);
}

// Bilinear, as OpenCV's demosaicing; border pixels repeat their inner neighbours.
PIXIO_DEVICE void pixio_bayer(const PixioRows& a, int x, int y, int red_column, int red_row, int rgb[3])
{
    x = pixio_clamp(x, 1, a.width - 2);
    y = pixio_clamp(y, 1, a.height - 2);
    const PixioByte* here = a.source + (unsigned long long) y * a.step + x;
    const PixioByte* above = here - a.step;
    const PixioByte* below = here + a.step;
    const bool is_red = y % 2 == red_row;
    const int coloured = is_red ? red_column : 1 - red_column;
    int own, green, other;
    if (x % 2 == coloured)
    {
        own = here[0];
        green = (above[0] + below[0] + here[-1] + here[1] + 2) / 4;
        other = (above[-1] + above[1] + below[-1] + below[1] + 2) / 4;
    }
    else
    {
        own = (here[-1] + here[1] + 1) / 2;
        green = here[0];
        other = (above[0] + below[0] + 1) / 2;
    }
    rgb[0] = is_red ? own : other;
    rgb[1] = green;
    rgb[2] = is_red ? other : own;
}

PIXIO_DEVICE void pixio_pixel(const PixioRows& a, int x, int y, int rgb[3])
{
    const PixioByte* row = a.source + (unsigned long long) y * a.step;
    // Planes of colour follow that of brightness.
    const PixioByte* half = a.source + (unsigned long long) (a.height + y / 2) * a.step + x / 2 * 2;
    const PixioByte* full = a.source + (unsigned long long) (a.height + 2 * y) * a.step + 2 * x;
    const PixioByte* pair = row + x / 2 * 4;
    const PixioByte* p;
    switch (a.encoding)
    {
    case PIXIO_RGB8: p = row + 3 * x; rgb[0] = p[0]; rgb[1] = p[1]; rgb[2] = p[2]; break;
    case PIXIO_BGR8: p = row + 3 * x; rgb[0] = p[2]; rgb[1] = p[1]; rgb[2] = p[0]; break;
    case PIXIO_RGBA8: p = row + 4 * x; rgb[0] = p[0]; rgb[1] = p[1]; rgb[2] = p[2]; break;
    case PIXIO_BGRA8: p = row + 4 * x; rgb[0] = p[2]; rgb[1] = p[1]; rgb[2] = p[0]; break;
    case PIXIO_MONO8: rgb[0] = rgb[1] = rgb[2] = row[x]; break;
    case PIXIO_MONO16: p = row + 2 * x; rgb[0] = rgb[1] = rgb[2] = (p[0] + 256 * p[1] + 128) / 257; break;
    case PIXIO_UYVY: pixio_yuv(pair[2 * (x % 2) + 1], pair[0], pair[2], rgb); break;
    case PIXIO_YUYV: pixio_yuv(pair[2 * (x % 2)], pair[1], pair[3], rgb); break;
    case PIXIO_NV12: pixio_yuv(row[x], half[0], half[1], rgb); break;
    case PIXIO_NV21: pixio_yuv(row[x], half[1], half[0], rgb); break;
    case PIXIO_NV24: pixio_yuv(row[x], full[0], full[1], rgb); break;
    case PIXIO_BAYER_RGGB8: pixio_bayer(a, x, y, 0, 0, rgb); break;
    case PIXIO_BAYER_BGGR8: pixio_bayer(a, x, y, 1, 1, rgb); break;
    case PIXIO_BAYER_GBRG8: pixio_bayer(a, x, y, 0, 1, rgb); break;
    default: pixio_bayer(a, x, y, 1, 0, rgb); break;
    }
}

// A pixel without the distortion: a mixture of four, rounded to 8 bit. Without a map the pixel itself.
PIXIO_DEVICE void pixio_rectified(const PixioRows& a, int x, int y, int rgb[3])
{
    int right = 0, down = 0, corners = 1;
    if (a.map)
    {
        const unsigned short* tap = a.map + 4 * ((unsigned long long) y * a.map_width + x);
        x = tap[0];
        y = tap[1];
        right = tap[2];
        down = tap[3];
        corners = x == 65535 ? 0 : 4;
    }
    int sums[3] = {1 << 15, 1 << 15, 1 << 15};
    // One by one, or the decoding of a pixel would be in the program four times.
    PIXIO_ONE_BY_ONE
    for (int corner = 0; corner < corners; ++corner)
    {
        int pixel[3];
        pixio_pixel(a, x + corner % 2, y + corner / 2, pixel);
        const int weight = (corner % 2 ? right : 256 - right) * (corner / 2 ? down : 256 - down);
        for (int channel = 0; channel < 3; ++channel)
            sums[channel] += pixel[channel] * weight;
    }
    for (int channel = 0; channel < 3; ++channel)
        rgb[channel] = sums[channel] >> 16;
}

PIXIO_DEVICE void pixio_rows_at(const PixioRows& a, int column, int row)
{
    if (column >= a.columns || row >= a.row_count)
        return;
    const int first = a.axis.spans[2 * column];
    const int count = a.axis.spans[2 * column + 1];
    const short* weights = a.axis.weights + (unsigned long long) column * a.axis.taps;
    const int half = 1 << (a.axis.precision - 1);
    int sums[3] = {half, half, half};
    for (int tap = 0; tap < count; ++tap)
    {
        int rgb[3];
        pixio_rectified(a, first + tap, a.first_row + row, rgb);
        for (int channel = 0; channel < 3; ++channel)
            sums[channel] += rgb[channel] * weights[tap];
    }
    PixioByte* out = a.rows + 3 * ((unsigned long long) row * a.columns + column);
    for (int channel = 0; channel < 3; ++channel)
        out[channel] = (PixioByte) pixio_clamp(sums[channel] >> a.axis.precision, 0, 255);
}

PIXIO_DEVICE void pixio_columns_at(const PixioColumns& a, int column, int line)
{
    if (column >= a.columns || line >= a.lines)
        return;
    const int first = a.axis.spans[2 * line];
    const int count = a.axis.spans[2 * line + 1];
    const short* weights = a.axis.weights + (unsigned long long) line * a.axis.taps;
    for (int channel = 0; channel < 3; ++channel)
    {
        int sum = 1 << (a.axis.precision - 1);
        for (int tap = 0; tap < count; ++tap)
            sum += a.rows[3 * ((unsigned long long) (first + tap) * a.columns + column) + channel] * weights[tap];
        const int level = pixio_clamp(sum >> a.axis.precision, 0, 255);
        a.planes[((unsigned long long) channel * a.lines + line) * a.columns + column]
            = a.levels[256 * channel + level];
    }
}

#ifndef PIXIO_HOST
extern "C" __global__ void pixio_rows(PixioRows a)
{
    pixio_rows_at(a, blockIdx.x * blockDim.x + threadIdx.x, blockIdx.y * blockDim.y + threadIdx.y);
}

extern "C" __global__ void pixio_columns(PixioColumns a)
{
    pixio_columns_at(a, blockIdx.x * blockDim.x + threadIdx.x, blockIdx.y * blockDim.y + threadIdx.y);
}
#endif
