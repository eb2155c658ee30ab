"""``dataclass(frozen=True)`` for the device: importing the standard library's takes longer than loading a model.

Its classes answer to ``dataclasses.replace``, ``fields`` and ``asdict`` like any other; what those look at is made by
the standard library, when one of them first asks.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as type checkers know it; importing typing would cost a third of the start
if TYPE_CHECKING:
    from dataclasses import dataclass, field

    __all__ = ["dataclass", "field"]
else:

    def dataclass(*, frozen):
        """Give a class, which is ``frozen``, the methods that follow from its annotated fields."""
        assert frozen

        def decorate(cls):
            cls.__match_args__ = tuple(cls.__annotations__)
            cls.__dataclass_fields__ = _StandardFields()
            for name, method in vars(_Methods).items():
                if callable(method):
                    setattr(cls, name, method)
            return cls

        return decorate

    class field:  # called as in dataclasses
        """A default that is made anew for every object."""

        def __init__(self, *, default_factory):
            self.default_factory = default_factory

    class _Methods:
        def __init__(self, *values, **named):
            cls = type(self)
            names = cls.__match_args__
            given = dict(zip(names, values, strict=False))
            if len(values) > len(names) or not given.keys().isdisjoint(named) or not set(names).issuperset(named):
                raise TypeError(f"{cls.__name__} takes {', '.join(names)}, each once")
            given |= named
            for name in names:
                if name in given:
                    value = given[name]
                elif name in vars(cls):
                    value = vars(cls)[name]
                    value = value.default_factory() if isinstance(value, field) else value
                else:
                    raise TypeError(f"{cls.__name__} lacks {name}")
                self.__dict__[name] = value
            if hasattr(cls, "__post_init__"):
                self.__post_init__()

        def __repr__(self):
            fields = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
            return f"{type(self).__qualname__}({fields})"

        def __eq__(self, other):
            return vars(self) == vars(other) if type(self) is type(other) else NotImplemented

        def __hash__(self):
            return hash(tuple(vars(self).values()))

        def __setattr__(self, name, value):
            from dataclasses import FrozenInstanceError

            raise FrozenInstanceError(f"cannot assign to field {name!r}")

        def __delattr__(self, name):
            from dataclasses import FrozenInstanceError

            raise FrozenInstanceError(f"cannot delete field {name!r}")

    class _StandardFields:
        """``__dataclass_fields__``, made at the first look."""

        def __get__(self, instance, owner):
            import dataclasses

            described = []
            for name in owner.__match_args__:
                default = vars(owner).get(name, dataclasses.MISSING)
                if isinstance(default, field):
                    made = dataclasses.field(default_factory=default.default_factory)
                else:
                    made = dataclasses.field(default=default)
                described.append((name, owner.__annotations__[name], made))
            owner.__dataclass_fields__ = dataclasses.make_dataclass(owner.__name__, described).__dataclass_fields__
            return owner.__dataclass_fields__
