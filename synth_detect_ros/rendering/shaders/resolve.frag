#version 330 core
// Samples to pixels: mean colour, and z of the nearest sample; infinite where there is none.

uniform sampler2DMS colour;
uniform sampler2DMS depth;
uniform int samples;
uniform vec2 range;  // near and far plane [m]

layout(location = 0) out vec4 mean;
layout(location = 1) out float z;

void main()
{
    ivec2 pixel = ivec2(gl_FragCoord.xy);
    vec4 sum = vec4(0.0);
    float nearest = 1.0;
    for (int i = 0; i < samples; ++i) {
        sum += texelFetch(colour, pixel, i);
        nearest = min(nearest, texelFetch(depth, pixel, i).r);
    }
    mean = sum / float(samples) + 1e-4;  // half covered is 128 of 255, however drivers round
    float metres = range.x * range.y / (range.y - nearest * (range.y - range.x));
    z = nearest < 1.0 ? metres : uintBitsToFloat(0x7f800000u);
}
