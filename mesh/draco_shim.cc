/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Draco offers a C++ interface only; this is all of it that is used: one mesh with
 * integer positions into the edge breaker's bitstream. Nothing is thrown out of here.
 */
#include "mesh/draco_shim.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wall"
#pragma GCC diagnostic ignored "-Wextra"
#include <draco/compression/encode.h>
#include <draco/mesh/mesh.h>
#pragma GCC diagnostic pop

static void
fill(draco::Mesh *mesh, const int32_t *xyz, uint32_t vertices, const uint32_t *index,
    uint32_t triangles)
{
	mesh->SetNumFaces(triangles);
	mesh->set_num_points(vertices);
	for (uint32_t t = 0; t < triangles; t++) {
		draco::Mesh::Face f;

		for (int k = 0; k < 3; k++)
			f[k] = draco::PointIndex(index[3 * (size_t)t + k]);
		mesh->SetFace(draco::FaceIndex(t), f);
	}
	draco::GeometryAttribute a;
	a.Init(draco::GeometryAttribute::POSITION, nullptr, 3, draco::DT_INT32, false,
	    3 * sizeof(int32_t), 0);
	int id = mesh->AddAttribute(a, true, vertices);
	draco::PointAttribute *position = mesh->attribute(id);
	for (uint32_t v = 0; v < vertices; v++)
		position->SetAttributeValue(draco::AttributeValueIndex(v),
		    xyz + 3 * (size_t)v);
}

static int
encode(const int32_t *xyz, uint32_t vertices, const uint32_t *index, uint32_t triangles,
    int speed, uint8_t **out, size_t *len, char *why, size_t why_len)
{
	draco::Mesh mesh;
	draco::Encoder encoder;
	draco::EncoderBuffer buffer;

	fill(&mesh, xyz, vertices, index, triangles);
	encoder.SetEncodingMethod(draco::MESH_EDGEBREAKER_ENCODING);
	encoder.SetSpeedOptions(speed, speed);
	draco::Status status = encoder.EncodeMeshToBuffer(mesh, &buffer);
	if (!status.ok()) {
		snprintf(why, why_len, "%s", status.error_msg());
		return -1;
	}
	*out = (uint8_t *)malloc(buffer.size() ? buffer.size() : 1);
	if (!*out)
		return -2;
	memcpy(*out, buffer.data(), buffer.size());
	*len = buffer.size();
	return 0;
}

extern "C" int
fg_draco_shim_encode(const int32_t *xyz, uint32_t vertices, const uint32_t *index,
    uint32_t triangles, int speed, uint8_t **out, size_t *len, char *why,
    size_t why_len)
{
	try {
		return encode(xyz, vertices, index, triangles, speed, out, len, why,
		    why_len);
	} catch (const std::bad_alloc &) {
		return -2;
	} catch (...) {
		snprintf(why, why_len, "%s", "the encoder failed");
		return -1;
	}
}
