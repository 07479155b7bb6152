"""VRML 2.0: what is written is read back exactly, whatever the layout of the text; damage is told by line."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lssl_augment.errors import DataError
from lssl_augment.simulation import vrml_nodes
from lssl_augment.simulation.mesh import Mesh
from lssl_augment.simulation.vrml import read_vrml, write_vrml

HEADER = "#VRML V2.0 utf8\n"
POINTS = "coord Coordinate { point [ 0 0 0, 1 0 0, 1 1 0, 0 1 0 ] }"
UV = "texCoord TextureCoordinate { point [ 0 0, 1 0, 1 1, 0 1 ] }"
SQUARE = f"Shape {{ geometry IndexedFaceSet {{ {POINTS} coordIndex [ 0 1 2 3 ] }} }}"


def read(body: str) -> Mesh:
    (shape,) = read_vrml((HEADER + body).encode())
    return shape.mesh


def face_set(fields: str, points: str = POINTS) -> str:
    return f"Shape {{ geometry IndexedFaceSet {{ {points} {fields} }} }}"


@st.composite
def meshes(draw: st.DrawFn) -> Mesh:
    numbers = st.floats(-1e9, 1e9, allow_nan=False)
    count, faces = draw(st.integers(1, 7)), draw(st.integers(0, 6))
    mapped = draw(st.booleans())
    rows = st.lists(st.integers(0, count - 1), min_size=3 * faces, max_size=3 * faces)

    def places(width: int) -> np.ndarray:
        values = draw(st.lists(numbers, min_size=count * width, max_size=count * width))
        return np.array(values, np.float64).reshape(count, width)

    def corners() -> np.ndarray:
        return np.array(draw(rows), np.int64).reshape(faces, 3)

    return Mesh(places(3), corners(), places(2) if mapped else None, corners() if mapped else None)


@settings(max_examples=40, deadline=None)
@given(mesh=meshes(), texture=st.none() | st.text(min_size=1).filter(str.strip))
def test_what_is_written_is_read_back_exactly(mesh: Mesh, texture: str | None) -> None:
    texture = None if texture is None else texture.encode("utf-8", "replace").decode()
    (shape,) = read_vrml(write_vrml(mesh, texture))
    assert shape.texture == texture
    for name in ("vertices", "triangles", "uv", "uv_triangles"):
        expected, found = getattr(mesh, name), getattr(shape.mesh, name)
        assert (expected is None) == (found is None)
        if expected is not None:
            np.testing.assert_array_equal(found, expected)
            assert found.dtype == expected.dtype


def test_any_white_space_commas_comments_and_order() -> None:
    text = """
    # a comment with [ and { and " in it
    DEF Head Shape{geometry IndexedFaceSet{coordIndex[0,1,2,-1,#one ] here
    0 , 2\t3 -1]creaseAngle 0.5 solid FALSE
      coord DEF C Coordinate{point[0 0 0,,1.0e0 0 0\r\n 1,1,0 0 1. 0,]}
    color Color { color [1 0 0] } colorPerVertex FALSE
    texCoord TextureCoordinate { point [0 0 1 0 1 1 0 1] } }
    appearance Appearance { material Material { diffuseColor 1 1 1 }
      texture ImageTexture { url [ "face # 1.bmp", "other.bmp" ] repeatS FALSE } } }
    """
    (shape,) = read_vrml((HEADER + text).encode())
    np.testing.assert_array_equal(shape.mesh.vertices, [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    np.testing.assert_array_equal(shape.mesh.triangles, [[0, 1, 2], [0, 2, 3]])
    np.testing.assert_array_equal(shape.mesh.uv_triangles, shape.mesh.triangles)  # no texCoordIndex
    assert shape.texture == "face # 1.bmp"


def test_polygons_become_fans_and_ends_need_no_mark() -> None:
    points = "coord Coordinate { point [ 0 0 0 2 0 0 3 1 0 2 2 0 0 2 0 9 9 9 ] }"
    mesh = read(face_set("coordIndex [ 0 1 2 3 4 -1 -1 5 -1 4 5 -1 0 1 3 ]", points))
    np.testing.assert_array_equal(mesh.triangles, [[0, 1, 2], [0, 2, 3], [0, 3, 4], [0, 1, 3]])


def test_texture_polygons_are_cut_as_the_others() -> None:
    mesh = read(face_set(f"{UV} coordIndex [ 0 1 2 3 -1 ] texCoordIndex [ 3 2 1 0 -1 ]"))
    np.testing.assert_array_equal(mesh.uv_triangles, [[3, 2, 1], [3, 1, 0]])
    with pytest.raises(DataError, match="other polygons than coordIndex"):
        read(face_set(f"{UV} coordIndex [ 0 1 2 3 -1 ] texCoordIndex [ 0 1 2 -1 3 0 1 -1 ]"))


def test_clockwise_and_mirrored_faces_are_turned_round() -> None:
    clockwise = face_set(f"{UV} ccw FALSE coordIndex [ 0 1 2 ]")
    mesh = read(clockwise)
    np.testing.assert_array_equal(mesh.triangles, [[2, 1, 0]])
    np.testing.assert_array_equal(mesh.uv_triangles, [[2, 1, 0]])
    mirrored = read(f"Transform {{ scale -1 1 1 children [ {clockwise} ] }}")
    np.testing.assert_array_equal(mirrored.triangles, [[0, 1, 2]])
    np.testing.assert_array_equal(mirrored.vertices[1], [-1, 0, 0])


def test_transforms_and_groups_are_followed() -> None:
    text = f"""Transform {{ translation 10 0 0 children Group {{ children [
      Transform {{ center 1 0 0 rotation 0 0 2 1.5707963267948966 scale 2 2 2 children [ {SQUARE} ] }}
      Transform {{ scaleOrientation 0 0 1 0.7853981633974483 scale 2 1 1 children {SQUARE} }} ] }} }}"""
    first, second = read_vrml((HEADER + text).encode())
    # (x, y) → 2(x − 1, y) turned left = (−2y, 2(x − 1)), back by the centre and moved by the outer one.
    np.testing.assert_allclose(first.mesh.vertices[:, :2], [[11, -2], [11, 0], [9, 0], [9, -2]], atol=1e-12)
    # Twice as long along the diagonal, which the corner (1, 1) lies on and the corner (−1, 1) would not.
    np.testing.assert_allclose(second.mesh.vertices[:, :2], [[10, 0], [11.5, 0.5], [12, 2], [10.5, 1.5]], atol=1e-12)


def test_used_nodes_are_the_defined_ones() -> None:
    text = f"""Group {{ children [ DEF A {SQUARE} Transform {{ translation 0 0 5 children [ USE A USE A ] }} ] }}
    Shape {{ appearance Appearance {{ texture DEF T ImageTexture {{ url "t.bmp" }} }} geometry IndexedFaceSet {{
      coord DEF C Coordinate {{ point [ 7 7 7 ] }} coordIndex [ ] }} }}
    Shape {{ appearance Appearance {{ texture USE T }} geometry IndexedFaceSet {{ coord USE C coordIndex [] }} }}"""
    shapes = read_vrml((HEADER + text).encode())
    assert [shape.mesh.vertices[0, 2] for shape in shapes] == [0, 5, 5, 7, 7]
    assert [shape.texture for shape in shapes] == [None, None, None, "t.bmp", "t.bmp"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "must begin with '#VRML V2.0'"),
        ("#VRML V1.0 ascii\nSeparator { }", "must begin with '#VRML V2.0'; it begins with '#VRML V1.0 ascii'"),
        (HEADER, "no Shape with an IndexedFaceSet; the nodes are: none"),
        (HEADER + "Shape { geometry Sphere { } }", "no Shape with an IndexedFaceSet; the nodes are: Shape"),
        (HEADER + "LOD { level [ ] }", "the nodes are: LOD"),
        (HEADER + SQUARE[:-1], "ends inside of Shape of line 2"),
        (HEADER + face_set("coordIndex [ 0 1 2"), "'}' where nothing is open, or where a list is"),
        (HEADER + SQUARE + "\n}", "line 3: '}' where nothing is open"),
        (HEADER + SQUARE + "]", "']' where no list is open"),
        (HEADER + "\n\n{ }", "line 4: '{' without the name of a node"),
        (HEADER + 'Shape { "x" }', "is in no field of Shape"),
        (HEADER + "Shape { Sphere { } }", "Sphere is in no field of Shape"),
        (HEADER + 'Shape { [ "x" ] }', "'[' without the name of a field"),
        (HEADER + 'Shape { url "never closed }', "a string that is not closed"),
        (HEADER + "Group { children [ USE Nobody ] }", "USE Nobody: no node of that name"),
        (HEADER + "DEF A Group { children [ USE A ] }", "USE A: no node of that name"),
        (HEADER + "Group { children [ A B ] } " + "Group { children [ USE A, B ] }", "cannot read the list"),
        (HEADER + "PROTO Big [ field SFFloat a 0 ] { }", "PROTO is not read"),
        (HEADER + face_set("coordIndex [ 0 1 4 -1 ]"), "must name points 0 to 3, or −1; got -1 to 4"),
        (HEADER + face_set("coordIndex [ 0 1 -2 ]"), "must name points 0 to 3, or −1; got -2 to 1"),
        (HEADER + face_set("coordIndex [ 0 1 2.5 ]"), "IndexedFaceSet in line 2: coordIndex must hold whole numbers"),
        (HEADER + face_set("coordIndex [ 0 1 99999999999999999999 ]"), "must hold whole numbers"),
        (HEADER + face_set("", "coord Coordinate { point [ 0 0 0 1 ] }"), "4 numbers, which is no multiple of 3"),
        (HEADER + face_set("", "coord Coordinate { point [ 0 0 nan ] }"), "not finite, or beyond 1e30"),
        (HEADER + face_set("", "coord Coordinate { point [ 0 0 1e31 ] }"), "not finite, or beyond 1e30"),
        (HEADER + face_set("", "coord Coordinate { point [ 0 zero 0 ] }"), "point must hold numbers"),
        (HEADER + face_set("", "coord Coordinate { point Sphere { } }"), "point must hold numbers"),
        (HEADER + face_set("ccw MAYBE"), "ccw must be TRUE or FALSE"),
        (HEADER + "Transform { scale [ 1 1 1 2 2 2 ] }", "scale must be 3 numbers; got 6"),
        (HEADER + "Transform { rotation 0 0 1 }", "rotation holds 3 numbers"),
    ],
)
def test_damaged_files_say_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(DataError) as caught:
        read_vrml(text.encode())
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_deep_nesting_is_refused_without_recursion() -> None:
    with pytest.raises(DataError, match="nodes and lists more than 200 levels deep"):
        read_vrml((HEADER + "Group { children [ " * 100_000).encode())


def test_many_nodes_are_read_in_linear_time() -> None:
    text = HEADER + "Group { children [ ] }\n" * 30_000 + SQUARE + "{"
    with pytest.raises(DataError, match=r"line 30002: '\{' without the name"):  # and not after minutes
        read_vrml(text.encode())


def test_small_files_cannot_grow_without_end() -> None:
    levels = [f"DEF L0 {SQUARE}"]
    levels += [f"DEF L{i} Group {{ children [ USE L{i - 1} USE L{i - 1} ] }}" for i in range(1, 60)]
    with pytest.raises(DataError, match="this is no scan of a face"):
        read_vrml((HEADER + "\n".join(levels)).encode())


def test_absurd_scales_are_refused() -> None:
    text = SQUARE
    for _ in range(20):
        text = f"Transform {{ scale 1e29 1e29 1e29 children [ {text} ] }}"
    with pytest.raises(DataError, match="must be finite"):
        read(text)


def test_sizes_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vrml_nodes, "MAX_BYTES", 1 << 20)
    with pytest.raises(DataError, match="a file of more than 1 MB"):
        read_vrml(HEADER.encode() + b" " * (1 << 20))
    monkeypatch.setattr(vrml_nodes, "_MAX_TOKENS", 5)
    with pytest.raises(DataError, match="more than 5 words; this is no mesh"):
        read(SQUARE)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_torn_files_raise_nothing_else(data: st.DataObject) -> None:
    whole = HEADER + face_set(f'{UV} ccw TRUE coordIndex [ 0 1 2 3 -1 ] url [ "a" ]')
    at = data.draw(st.integers(len(HEADER), len(whole)))
    junk = data.draw(st.text(alphabet='[]{}"#,\\ -1.eUSEDFTRaé', max_size=6))
    try:
        shapes = read_vrml((whole[:at] + junk + whole[at + data.draw(st.integers(0, 5)) :]).encode())
    except DataError:
        return
    assert all(np.isfinite(shape.mesh.vertices).all() for shape in shapes)


def test_old_names_in_latin_1() -> None:
    text = HEADER + SQUARE.replace("{ geo", '{ appearance A { texture I { url "J\xf6rg.bmp" } } geo', 1)
    assert read_vrml(text.encode("latin-1"))[0].texture == "Jörg.bmp"
    assert read_vrml(b"\xef\xbb\xbf" + text.encode())[0].texture == "Jörg.bmp"
