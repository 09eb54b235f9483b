#version 330 core
// Samples to pixels, top row first: mean colour, mean z of what is covered, infinite elsewhere.
// SAMPLES, of a pixel, is defined by the backend.

uniform sampler2DMS colour;
uniform sampler2DMS depth;
uniform int rows;    // of the viewport
uniform vec2 range;  // near and far plane [m]

layout(location = 0) out vec4 mean;
layout(location = 1) out float z;

void main()
{
    ivec2 pixel = ivec2(gl_FragCoord.x, rows - 1 - int(gl_FragCoord.y));
    vec4 sum = vec4(0.0);
    vec2 covered = vec2(0.0);  // sum of window depths, number of samples
    for (int i = 0; i < SAMPLES; ++i) {
        float window = texelFetch(depth, pixel, i).r;
        covered += window < 1.0 ? vec2(window, 1.0) : vec2(0.0);
        sum += texelFetch(colour, pixel, i);
    }
    mean = sum / float(SAMPLES) + 1e-4;  // half covered is 128 of 255, however drivers round
    float metres = range.x * range.y / (range.y - covered.x / covered.y * (range.y - range.x));
    z = covered.y > 0.0 ? metres : uintBitsToFloat(0x7f800000u);
}
