#version 330 core
// Phong shading, vertex stage. The *_LOC names are defined by pyrender from the mesh's attributes.

layout(location = 0) in vec3 position;
layout(location = NORMAL_LOC) in vec3 normal;
#ifdef TEXCOORD_0_LOC
layout(location = TEXCOORD_0_LOC) in vec2 texcoord_0;
#endif
layout(location = COLOR_0_LOC) in vec4 color_0;

uniform mat4 M;  // object -> camera (ROS optical frame)
uniform mat4 V;  // ROS optical frame -> OpenGL camera frame
uniform mat4 P;

// Centroid: at the outline, where only some samples of a pixel are covered, the texture must not
// be read beyond the triangle.
centroid out vec3 frag_position;
centroid out vec3 frag_normal;
centroid out vec2 frag_uv;
centroid out vec3 frag_colour;

void main()
{
    vec4 in_camera = M * vec4(position, 1.0);
    gl_Position = P * V * in_camera;
    frag_position = in_camera.xyz;
    frag_normal = mat3(M) * normal;  // poses are rigid
#ifdef TEXCOORD_0_LOC
    frag_uv = texcoord_0;
#else
    frag_uv = vec2(0.0);
#endif
    frag_colour = color_0.rgb;
}
