r"""What code says of names: which it reads, which it changes, and what is left of it without prose."""

import ast
import symtable


def dotted(node: ast.expr) -> list[str]:
    """`a.b.c` as its names; empty for the attribute of anything but a name."""
    if isinstance(node, ast.Name):
        return [node.id]
    inner = dotted(node.value) if isinstance(node, ast.Attribute) else []
    return [*inner, node.attr] if inner and isinstance(node, ast.Attribute) else []


def free(tree: ast.AST) -> set[str]:
    """The names that code reads from outside of its functions."""

    def reads(table: symtable.SymbolTable) -> set[str]:
        top = table.get_type() == "module"
        own = {
            s.get_name() for s in table.get_symbols() if s.is_referenced() and (top or s.is_global() or s.is_imported())
        }
        return own.union(*map(reads, table.get_children()))

    return reads(symtable.symtable(ast.unparse(tree), "code", "exec"))


def changed(statement: ast.stmt) -> set[str]:
    """The names whose objects a statement changes: parts that it sets, methods whose result it throws away."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return set()
    names = set()
    for node in ast.walk(statement):
        match node:
            case ast.Subscript(ctx=ast.Store() | ast.Del()) | ast.Attribute(ctx=ast.Store() | ast.Del()):
                names.add(_root(node))
            case ast.Expr(value=ast.Call(func=ast.Attribute() as method)):
                names.add(_root(method))
    return names


def _root(node: ast.expr) -> str:
    """The name that `a` is in `a.b[0].c`; empty if there is none."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


class Bare(ast.NodeTransformer):
    """Code without docstrings, types of arguments and the wording of errors."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """Without docstrings."""
        super().generic_visit(node)
        if isinstance(body := getattr(node, "body", None), list):
            code = [part for part in body if not (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))]
            node.body = code if code or isinstance(node, ast.Module) else [ast.Pass()]  # type: ignore[attr-defined]
        return node

    def visit_arg(self, node: ast.arg) -> ast.arg:
        """Without its type."""
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Without the type of what is returned."""
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        """With its type as a text, which is not followed."""
        node.annotation = ast.Constant(ast.unparse(node.annotation))  # kept as a text, not followed
        return self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        """Without what the error says."""
        if isinstance(node.exc, ast.Call):
            node.exc.args, node.exc.keywords = [], []
        return self.generic_visit(node)
